"""Pledges of compute that the operator of this machine made, kept in the node's home, and what follows for its time.

Parts: `Pledged` (one), `kept_pledges` and `keep` (the file), `floors_of` (pure). Law: what is over or withdrawn counts no
more; shares that are together more than the machine are refused when they are made.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from archipel.node.small_files import Unreadable, read_json, write_json
from archipel.records.compute import MILLION

FILE = "pledges.json"
MAX_PLEDGES = 64


class NotPledged(ValueError):
    """No pledge of this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Pledged:
    """One pledge of compute."""

    name: str
    lab: str | None = None
    """Key of the lab that it is made to; None: to a purpose."""
    purpose: str | None = None
    share: int | None = None
    """Millionths of the time that this machine works."""
    hours: int | None = None
    """Hours of work a week."""
    until_ms: int = 0
    made_ms: int = 0
    withdrawn: bool = False
    told: tuple[str, ...] = ()
    """Labs that have entered it, by key."""

    def holds(self, now_ms: int) -> bool:
        """Whether it is to be kept at this time."""
        return not self.withdrawn and now_ms < self.until_ms


def all_pledges(home: Path) -> tuple[Pledged, ...]:
    """Those that were ever made here, the oldest first.

    Raises:
        Unreadable, OSError: the file cannot be read.
    """
    read = read_json(home / FILE)
    if read is None:
        return ()
    try:
        return tuple(Pledged(**{**each, "told": tuple(each["told"])}) for each in read["pledges"])
    except (TypeError, KeyError) as error:
        raise Unreadable(f"{home / FILE} is damaged: {error}") from None


def kept_pledges(home: Path, now_s: float) -> tuple[Pledged, ...]:
    """Those that hold at this Unix time. Raises Unreadable, OSError."""
    return tuple(each for each in all_pledges(home) if each.holds(int(now_s * 1000)))


def keep(home: Path, pledge: Pledged, now_s: float) -> None:
    """Write it down; one of the same name is replaced.

    Raises:
        NotPledged: together they would be more than the machine, or there are too many.
        Unreadable, OSError.
    """
    others = [each for each in all_pledges(home) if each.name != pledge.name]
    held = [each for each in (*others, pledge) if each.holds(int(now_s * 1000))]
    total = sum(each.share or 0 for each in held) + sum(_share_of_hours(each) for each in held)
    if total > MILLION:
        raise NotPledged(
            f"with this, {total / 10_000:.1f}% of the machine would be pledged; withdraw another first "
            "(archipel node pledges)"
        )
    kept = [*others, pledge] if pledge in held else [*held, pledge]
    if len(kept) > MAX_PLEDGES:
        kept = [each for each in kept if each.holds(int(now_s * 1000)) or each is pledge]
    if len(kept) > MAX_PLEDGES:
        raise NotPledged(f"{MAX_PLEDGES} pledges hold already; withdraw one first")
    write_json(home / FILE, {"pledges": [asdict(each) for each in kept]})


def withdraw(home: Path, name: str, now_s: float) -> Pledged:
    """Take one back. Raises NotPledged: there is none that holds. Unreadable, OSError."""
    for each in kept_pledges(home, now_s):
        if each.name == name:
            after = replace(each, withdrawn=True)
            keep(home, after, now_s)
            return after
    raise NotPledged(f"no pledge {name} holds here; archipel node pledges lists them")


def floors_of(pledges: Iterable[Pledged]) -> dict[str, float]:
    """Pledge -> share of the machine's time that goes first; 0: it is owed by the clock."""
    return {each.name: (each.share or 0) / MILLION for each in pledges}


def hours_of(pledges: Iterable[Pledged]) -> dict[str, float]:
    """Pledge -> hours a week, of those that say so."""
    return {each.name: float(each.hours) for each in pledges if each.hours is not None}


def names_of(
    pledges: Sequence[Pledged], lab: str, address: str, purposes: Collection[str]
) -> list[str]:
    """Pledges that work for these purposes at this lab counts for.

    lab: its key, empty while it is not known. address: where it answers, by which a pledge may name it, too.
    """
    return [
        each.name
        for each in pledges
        if (each.purpose is None and each.lab in (lab, address)) or each.purpose in purposes
    ]


def _share_of_hours(pledge: Pledged) -> int:
    return 0 if pledge.hours is None else pledge.hours * MILLION // 168
