"""A version in parts, written by the ranks of a site: each holds, hashes and writes the parts that are its own.

Parts: `Shares` (whose rank has which), `compute`, `write_shared`. Law: the files are those that one process would have
written, and no rank holds more of the published weights than its parts; what ranks tell each other are names, digests and
receipts. Every rank sees the folder that they are written to.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from archipel.model.adapter import trained
from archipel.model.manifest import Manifest, TensorEntry, describe
from archipel.records.part_manifest import TensorFact
from archipel.records.weight_parts import BadParts
from archipel.records.weight_state import state_of
from archipel.training.sharding import Site, all_ranks_say, wait_for_all
from archipel.training.trainer import Trainer
from archipel.work.joining import Receipt
from archipel.work.part_plan import Planned, goal_of, parts_folder, planned, share, size_of
from archipel.work.policies import Policy
from archipel.work.publishing import write_joined, write_own_part

log = logging.getLogger(__name__)

_LENGTH_BYTES = 8
Sizes = dict[str, int]


@dataclass(frozen=True, slots=True)
class Shares:
    """How the versions of a run are cut, and what of them is this rank's."""

    plan: Sequence[Planned]
    mine: tuple[int, ...]
    """Numbers of its parts."""
    site: Site

    @classmethod
    def of(cls, trainer: Trainer, parts: int, site: Site) -> Self:
        """Raises CannotPart: more parts than a version may have."""
        shapes = trained(trainer.scorer.decoder).items()
        forms = sorted((name, tuple(each.shape)) for name, each in shapes)
        goal = goal_of(sum(size_of(shape) for _, shape in forms), parts)
        plan = list(planned(forms, goal))
        return cls(plan, share([each.num_bytes for each in plan], site.rank, site.world), site)

    def names(self) -> frozenset[str]:
        """Of the tensors that this rank keeps."""
        return frozenset(name for number in self.mine for name, _ in self.plan[number].forms)


def compute(trainer: Trainer, shares: Shares, parent: str | None) -> Policy:
    """The version that the trainer stands at: what this rank holds of it, and what all of it is. A collective.

    parent: state digest of the version before.
    """
    own = trainer.published_state(shares.names().__contains__)
    entries = describe(own, trainer.version, parent).tensors if own else ()
    said = json.dumps([each.fields() for each in entries]).encode()
    told = [each for rank in _all_say(said, shares.site) for each in json.loads(rank)]
    tensors = sorted(
        (TensorEntry(**each | {"shape": tuple(each["shape"])}) for each in told),
        key=lambda each: each.name,
    )
    state = state_of(TensorFact(each.name, each.shape, each.digest) for each in tensors)
    return Policy(own, Manifest(trainer.version, parent, tuple(tensors), state))


def write_shared(
    files: Path, versions: tuple[Policy | None, Policy], shares: Shares, *, is_anchor: bool
) -> tuple[Sizes, int]:
    """As `write_in_parts`, every rank its own parts; sizes and number of parts, on the first rank. A collective.

    versions: this rank's share of the one before (None for version 0), and of the new one.

    Raises:
        BadParts: on every rank, when one could not write.
    """
    parent, policy = versions
    folder, site = parts_folder(files), shares.site
    if site.is_first:
        folder.mkdir(exist_ok=True)
    wait_for_all(site)
    receipts: list[str] | None = None
    try:
        written = [
            write_own_part(folder, number, shares.plan[number], parent, policy, is_anchor=is_anchor)
            for number in shares.mine
        ]
        receipts = [each.to_bytes().decode() for each in written]
    except (OSError, BadParts):
        log.exception("this rank cannot write its parts of version %d", policy.manifest.version)
    told = [json.loads(each) for each in _all_say(json.dumps(receipts).encode(), site)]
    if blind := [rank for rank, each in enumerate(told) if each is None]:
        raise BadParts(f"ranks {blind} could not write their parts; their log says why")
    if not site.is_first:
        return {}, len(shares.plan)
    joined = [Receipt.from_bytes(each.encode()) for rank in told for each in rank]
    before = None if parent is None else parent.manifest.state
    return write_joined(files, joined, policy.manifest.version, before), len(joined)


def _all_say(said: bytes, site: Site) -> Sequence[bytes]:
    """What every rank said, by rank, of any length (a collective)."""
    lengths = all_ranks_say(len(said).to_bytes(_LENGTH_BYTES, "little"), site)
    sizes = [int.from_bytes(each, "little") for each in lengths]
    heard = all_ranks_say(said.ljust(max(sizes), b" "), site)
    return [each[:size] for each, size in zip(heard, sizes, strict=True)]
