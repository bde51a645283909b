"""What a trusted role remembers, held against the ledger that it serves now: from where on may it go on?

A ledger may end earlier than what is remembered: another lab continues it from a mirror, or it was restored from a backup.
Parts: `confirmed` (the newest that holds), `why_not` (pure), `went_back` (what was set aside here). Law: a number alone
confirms nothing; it is the state digest that a trusted key published, or, of the version that is asked for, what it was made
from. What a release without these digests left is confirmed by its number, and by the digest of what is made from it. A lab's
own word takes nothing from a memory: that it goes back is decided by what trusted keys signed, and seldom enough that nothing
is removed before a person had time to look.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from archipel.node.exchange import LabRefused
from archipel.node.lasting import FOLDER
from archipel.node.small_files import Unreadable, read_json
from archipel.records.words import Memory
from archipel.work.remembered import KEPT_ASIDE, WHY_FILE, GoBack, Remembered

MAX_ASIDE = 256
"""Folders that are looked at for `node status`."""
STAYS_S = 7 * 86_400
"""What was set aside is not removed before, unless its operator does it: somebody looks at a machine once a week."""

PolicyOf = Callable[[int], Awaitable[str | None]]
"""State digest of a version in the ledger; None: it has none of that number."""


@dataclass(frozen=True, slots=True)
class WentBack:
    """What was set aside, of one run."""

    folder: Path
    to: int
    why: str


async def confirmed(
    remembered: Sequence[Remembered], memory: Memory, inputs: str | None, policy_of: PolicyOf
) -> tuple[int, GoBack | None]:
    """(the version that memory can go on from, -1 for none; how far it has to go back, None: not at all).

    memory: what whoever makes the next version must have learned. inputs: digest of what that is made from.

    Raises:
        LabRefused: the memory would have to go back for a version that no trusted key published so.
    """
    first = ""
    for each in remembered:
        is_asked = each.version < memory.version and each.policy is not None
        published = await policy_of(each.version) if is_asked else None
        why = why_not(each, memory, inputs, published)
        if not why:
            return each.version, GoBack(to=each.version, why=first) if first else None
        if not first and memory.policy is not None:
            _require_published(memory, await policy_of(memory.version))
        first = first or why
    return -1, GoBack(to=-1, why=first) if first else None


def _require_published(memory: Memory, published: str | None) -> None:
    """The lease says what is gone on from, and a lease is the lab's own word."""
    if published != memory.policy:
        raise LabRefused(
            "bad-version",
            f"the lease goes on from version {memory.version} as {memory.policy}, and trusted keys published "
            f"{published or 'none of that number'}",
            200,
        )


def why_stays(folder: Path, now_s: float) -> str:
    """Why nothing more of this run's memory is set aside now, in a sentence; empty: it may be.

    folder: of the run's memory. now_s: Unix time.
    """
    times = []
    for path in folder.glob(f"aside-*/{WHY_FILE}"):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    if sum(now_s - each < STAYS_S for each in times) < KEPT_ASIDE:
        return ""
    return (
        f"the lab shows an earlier ledger than this memory has, as it did {KEPT_ASIDE} times within {STAYS_S // 86_400} days: "
        f"look at {folder}/aside-*, and move one of them elsewhere, or remove it, if this is to go on"
    )


def why_not(each: Remembered, memory: Memory, inputs: str | None, published: str | None) -> str:
    """Why the ledger does not confirm a version that is remembered; empty: it does. published: its digest there.

    1. It is none that comes after the one that is asked for. 2. The one that is asked for was made from the same. 3. Any before
    is the one that was published.
    """
    asked = memory.version + 1
    if each.version > asked:
        return f"version {each.version} is remembered, and the ledger that is served now asks for version {asked}"
    if each.version == asked:
        told = each.parent, each.inputs
        if told in {(None, None), (memory.policy, inputs)}:
            return ""
        return f"version {asked} was made from other results than the ledger has now"
    known = memory.policy if each.version == memory.version else published
    if each.policy in {None, known}:
        return ""
    return f"version {each.version} is remembered as {each.policy}, and is {known} in the ledger that is served now"


def went_back(home: Path) -> Iterator[WentBack]:
    """What was set aside in this node's home, as far as it can be read."""
    places = sorted((home / FOLDER).glob(f"*/aside-*/{WHY_FILE}"))
    for path in places[:MAX_ASIDE]:
        try:
            told = read_json(path) or {}
            yield WentBack(path.parent, int(told["to"]), str(told["why"])[:600])
        except (Unreadable, OSError, KeyError, TypeError, ValueError, OverflowError):
            continue
