"""A bundle looked at as far as a trace believes it, and its blobs read under their digests.

Law: a trace is told by a ledger whose every entry leads to the root that the lab signed, by bytes that have the digest
that such an entry names, and by files that are as they were signed; what does not hold is refused. Whose the signing
key is, and that the weights are the last version's, is `archipel release verify`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from archipel.lab.state import LabState
from archipel.ledger.mirror import Mirror
from archipel.ledger.tree_head import TreeHead
from archipel.ledger.verification import lab_key
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.records.rollouts import Rollout, bounds_of, max_rollout_bytes, unpack_rollouts
from archipel.release import places
from archipel.release.hearing import Hearing
from archipel.release.index import Released
from archipel.release.oms.folder import file_sha256
from archipel.release.verify.files import look_at_paths, look_at_signature, read_bounded
from archipel.release.verify.ledger import look_at_transitions, look_at_tree
from archipel.release.verify.report import Expected, Looked, Tell

MAX_RECIPE_BYTES = 4 * 1024 * 1024
MAX_TOLD_FAULTS = 3


class Untraceable(ValueError):
    """What would tell it is missing or does not hold; the message says what."""


@dataclass(frozen=True)
class Told:
    """A bundle whose ledger holds."""

    folder: Path
    index: Released
    state: LabState
    heard: Hearing
    files: tuple[str, ...]
    tell: Tell = field(repr=False)

    @cached_property
    def mirror(self) -> Mirror:
        """Its ledger."""
        return Mirror(self.folder / places.LEDGER, lab_key(self.index.lab))

    @property
    def head(self) -> TreeHead:
        """That all of its entries stand under."""
        head = self.mirror.head
        if head is None:
            raise Untraceable(f"{places.LEDGER}/checkpoint is missing")
        return head

    @cached_property
    def recipe(self) -> Recipe:
        """As the run was opened.

        Raises:
            Untraceable: it is not in the bundle.
        """
        opened = self.heard.story.opened
        path = None if opened is None else self.blob(opened.recipe)
        if path is None:
            raise Untraceable("the recipe is not among the blobs of this bundle, or is damaged")
        return recipe_from_canonical(read_bounded(path, MAX_RECIPE_BYTES))

    def blob(self, blob: BlobRef) -> Path | None:
        """A file with its bytes, hashed; None: it is not in the bundle.

        Raises:
            Untraceable: what lies there is something else.
        """
        place = places.blob_place(blob.digest)
        if place not in self._there:
            return None
        digest, size = file_sha256(self.folder / place)
        if (f"sha256:{digest}", size) != (blob.digest, blob.size):
            raise Untraceable(
                f"{place} does not hold what its name says; `archipel release verify`"
            )
        return self.folder / place

    def rollouts(self, each: AcceptedWork) -> Mapping[int, list[Rollout]] | None:
        """Group -> its rollouts, of an accepted result; None: it is not in the bundle.

        Raises:
            Untraceable: it is damaged. BadPayload: it is no result.
        """
        spec, answer = each.spec, each.answer
        if not isinstance(spec, RolloutSpec) or not isinstance(answer, RolloutAnswer):
            raise Untraceable(f"{each.work} is {spec.kind} work, expected rollout")
        path = self.blob(answer.result)
        if path is None:
            return None
        pace, num = self.heard.story.pace, len(spec.groups)
        bounds = bounds_of(pace, work=each.work, policy=spec.policy, num_groups=num)
        data = read_bounded(path, max_rollout_bytes(bounds))
        return dict(zip(spec.groups, unpack_rollouts(data, bounds), strict=True))

    @cached_property
    def _there(self) -> frozenset[str]:
        return frozenset(self.files)


def grounds(files: Sequence[str]) -> list[str]:
    """Those of a bundle's files that no digest in the ledger names and that a trace believes, sorted."""
    return sorted(
        each
        for each in files
        if each.startswith((f"{places.DATA}/", f"{places.ENVIRONMENT}/"))
        or ("/" not in each and not each.endswith(".safetensors"))
    )


def look_at_grounds(looked: Looked) -> None:
    """Index, paths and signature, and that each of the `grounds` is as it was signed.

    Raises:
        NoBundle: it is no release. Untraceable: one does not hold; the message names it.
    """
    for step in (look_at_paths, look_at_signature):
        step(looked)
        _require(looked)
    digests = {} if looked.signed is None else looked.signed.digests
    for each in grounds(looked.files):
        if each == places.SIGNATURE:
            continue
        digest, _ = file_sha256(looked.folder / each)
        if digests.get(each) != digest:
            raise Untraceable(
                f"{each} is not as it was signed; `archipel release verify` says more"
            )


def _require(looked: Looked) -> None:
    if faults := looked.steps[-1].faults:
        raise Untraceable("; ".join(faults[:MAX_TOLD_FAULTS]))


def look(folder: Path, expected: Expected, tell: Tell) -> Told:
    """Its index and small files, its ledger's tree and head, and every transition of it.

    Raises:
        NoBundle: it is no release. Untraceable: it has no ledger, or something does not hold. OSError: it cannot be read.
    """
    looked = Looked(folder, expected, tell)
    look_at_grounds(looked)
    for step in (look_at_tree, look_at_transitions):
        step(looked)
        _require(looked)
    if looked.index is None or looked.heard is None or looked.state is None:
        raise Untraceable(
            f"{folder} brings no ledger, so nothing tells what its weights were made from; expected "
            f"{places.LEDGER}/, as `archipel release make` writes it"
        )
    return Told(folder, looked.index, looked.state, looked.heard, looked.files, tell)
