"""The files of a new version, as every programme's trusted role publishes it: manifest, delta and, where one is due, anchor.

Of a version in parts these three name the parts' own files, which lie in a folder beside them (`part_files`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from archipel.model.versions import encode_anchor, encode_delta
from archipel.records.weight_parts import PartBlobs
from archipel.work.joining import Joined, Receipt, join
from archipel.work.part_files import part_of, write_part
from archipel.work.part_plan import Planned, goal_of, parts_folder, planned
from archipel.work.policies import Policy


def write_weights(
    files: Path, parent: Policy | None, policy: Policy, *, is_anchor: bool
) -> dict[str, int]:
    """Write them into the folder `files`; their sizes, as metrics.

    parent: of the version before; None for version 0. is_anchor: the version is also published whole.

    Raises:
        OSError: the disk is full or not writable.
    """
    state, manifest = policy.state, policy.manifest
    sizes = {"full_bytes": manifest.num_bytes}
    (files / "manifest").write_bytes(manifest.to_bytes())
    if parent is not None:
        delta = encode_delta(parent.state, state, parent.manifest, manifest)
        sizes["delta_bytes"] = (files / "delta").write_bytes(delta)
    if is_anchor:
        sizes["anchor_bytes"] = (files / "anchor").write_bytes(encode_anchor(state))
    return sizes


def write_in_parts(
    files: Path, parent: Policy | None, policy: Policy, parts: int, *, is_anchor: bool
) -> tuple[dict[str, int], int]:
    """As `write_weights`, in about so many parts; also how many there are. One process writes all of them.

    Raises:
        CannotPart, BadParts: too many for one version. OSError: the disk is full or not writable.
    """
    folder = parts_folder(files)
    folder.mkdir(exist_ok=True)
    plan = parts_of(policy, parts)
    receipts = [
        write_own_part(folder, number, part, parent, policy, is_anchor=is_anchor)
        for number, part in enumerate(plan)
    ]
    before = None if parent is None else parent.manifest.state
    sizes = write_joined(files, receipts, policy.manifest.version, before)
    return sizes, len(receipts)


def parts_of(policy: Policy, parts: int) -> Sequence[Planned]:
    """How a version is cut: the same for all versions of a run, whose tensors have the same shapes."""
    manifest = policy.manifest
    forms = ((each.name, each.shape) for each in manifest.tensors)
    return list(planned(forms, goal_of(manifest.num_bytes, parts)))


def write_joined(
    files: Path, receipts: Sequence[Receipt], version: int, parent: str | None
) -> dict[str, int]:
    """Write a version's documents, from what the writers of its parts told; sizes of the parts, as metrics.

    The parts' manifests are read from their folder. parent: state digest of the version before.

    Raises:
        BadParts: a part is missing, or they do not make one version. OSError: the disk is full or not writable.
    """
    folder = parts_folder(files)
    joined = join(
        receipts,
        lambda blob: (folder / blob.digest.removeprefix("sha256:")).read_bytes(),
        version,
        parent,
    )
    for role, data in documents_of(joined).items():
        (files / role).write_bytes(data)
    sizes = {"full_bytes": joined.index.num_bytes}
    for name, said in (("delta_bytes", joined.delta), ("anchor_bytes", joined.anchor)):
        if said is not None:
            sizes[name] = said.num_bytes
    return sizes


def documents_of(joined: Joined) -> Mapping[str, bytes]:
    """Role of an answer's file -> its bytes."""
    lists: tuple[PartBlobs | None, ...] = (joined.anchor, joined.delta)
    return {"manifest": joined.index.to_bytes()} | {
        each.of: each.to_bytes() for each in lists if each is not None
    }


def write_own_part(
    folder: Path,
    number: int,
    part: Planned,
    parent: Policy | None,
    policy: Policy,
    *,
    is_anchor: bool,
) -> Receipt:
    """One part's files, from policies that hold its tensors at least; see `write_part`."""
    before = None
    if parent is not None:
        held = parent.manifest
        before = part_of(parent.state, part, held.version, None, held)
    manifest = policy.manifest
    stood = None if before is None else before.manifest.state
    own = part_of(policy.state, part, manifest.version, stood, manifest)
    return write_part(folder, number, own, before, is_anchor=is_anchor)
