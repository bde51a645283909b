"""A trusted role's memory that is ahead of its run's ledger: what it says it remembers, and how what no ledger confirms is set
aside, with the reason, and used by nobody again.

    <memory>/aside-<k>/why.json                            {"to": ..., "why": ..., "versions": [...], "sha256": of all}
    <memory>/aside-<k>/<version>.safetensors, ...          as they lay in the memory
    <memory>/policy-<version>.json                         state digest of a checkpoint that does not say it itself

Law: what is set aside is moved, never changed; the newest KEPT_ASIDE folders that hold something stay, and one that goes is named
in the log. The agent sees to it that none goes soon.
"""

import logging
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from archipel.records.kept import Damaged, kept, read_kept
from archipel.training.checkpoint import checkpoint_file
from archipel.work.outbox import Outbox
from archipel.work.remembered import KEPT_ASIDE, WHY_FILE, GoBack, Remembered

ASIDE = re.compile(r"aside-([0-9]{1,9})")
_NUMBERED = re.compile(
    r"(?:outbox-([0-9]{1,9})|([0-9]{9})\.(?:safetensors|parts)|policy-([0-9]{1,9})\.json)"
)

log = logging.getLogger(__name__)


def remembered(
    memory: Path, held: tuple[int, str | None] | None, saved: Mapping[int, str | None]
) -> tuple[Remembered, ...]:
    """What there is to go on from, the first that would be taken first.

    held: version and state digest of what is at hand. saved: of each version on disk its digest, the newest first. A digest
    is None where nobody wrote it down.
    """
    outbox = Outbox(memory)
    found = [] if held is None else [held]
    found += [each for each in saved.items() if held is None or each[0] != held[0]]
    return tuple(_about(outbox, version, policy) for version, policy in found)


def _about(outbox: Outbox, version: int, policy: str | None) -> Remembered:
    made = outbox.about(version)
    return Remembered(
        version=version,
        policy=policy or made.get("policy"),
        parent=made.get("parent"),
        inputs=made.get("inputs"),
    )


def note_policy(memory: Path, version: int, policy: str) -> None:
    """Write down what a version is, before it is saved in a form that others make again byte for byte. Raises OSError."""
    place = memory / f"policy-{version}.json"
    partial = place.with_suffix(".partial")
    partial.write_bytes(kept({"policy": policy}))
    partial.replace(place)
    for old in memory.glob("policy-*.json"):
        number = old.stem.removeprefix("policy-")
        is_spare = number.isdecimal() and not checkpoint_file(memory, int(number)).exists()
        if old != place and is_spare:
            old.unlink(missing_ok=True)


def noted_policies(memory: Path, versions: Iterable[int]) -> dict[int, str | None]:
    """State digest of each of these versions; None: nobody wrote it down, or it is damaged."""
    return {version: _noted(memory / f"policy-{version}.json") for version in versions}


def _noted(place: Path) -> str | None:
    try:
        said = read_kept(place.read_bytes(), strict=True).get("policy")
    except (OSError, Damaged):
        return None
    return said if isinstance(said, str) else None


def set_aside(memory: Path, back: GoBack) -> Path | None:
    """Move what is beyond version `back.to` out of the way; where to, None if there was nothing. Raises OSError."""
    beyond = sorted(_beyond(memory, back.to), reverse=True)
    if not beyond:
        return None
    folders = _folders(memory)
    for number in [each for each, path in folders.items() if _is_bare(path)]:
        shutil.rmtree(
            folders[number]
        )  # the disk was full, or the process killed, before anything was moved
        del folders[number]
    place = memory / f"aside-{max(folders, default=0) + 1}"
    place.mkdir()
    versions = sorted({version for version, _ in beyond})
    told = {"to": back.to, "why": back.why, "versions": versions}
    (place / WHY_FILE).write_bytes(kept(told))
    for _, path in beyond:
        path.replace(place / path.name)
    log.warning("%s; what is beyond version %d lies in %s now", back.why, back.to, place)
    _forget(folders[number] for number in sorted(folders, reverse=True)[KEPT_ASIDE - 1 :])
    return place


def _beyond(memory: Path, newest: int) -> Iterable[tuple[int, Path]]:
    """Checkpoints, in whatever form, and outboxes of later versions."""
    for path in memory.iterdir():
        named = _NUMBERED.fullmatch(path.name)
        if named and (version := int(named[1] or named[2] or named[3])) > newest:
            yield version, path


def _folders(memory: Path) -> dict[int, Path]:
    named = ((ASIDE.fullmatch(path.name), path) for path in memory.iterdir())
    return {int(found[1]): path for found, path in named if found}


def _is_bare(folder: Path) -> bool:
    return all(path.name == WHY_FILE for path in folder.iterdir())


def _forget(folders: Iterable[Path]) -> None:
    for folder in folders:
        log.warning("%s is removed: newer ones were set aside, and %d stay", folder, KEPT_ASIDE)
        shutil.rmtree(folder)
