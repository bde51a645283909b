"""How a machine's time is divided among the labs that it serves: which of them has the next stint. Pure.

A *stint* is what one lab has of the machine at a time: from asking for work to the end of its lease. Every lab has a
start, in virtual time (seconds of the machine per weight), at which a machine that served all at once would begin its
next stint; of those whose start has come, the lab goes first whose stint, were it as long as the longest so far, would
end first there (worst-case fair queueing: Bennett and Zhang, WF2Q+, 1997). A floor (a pledge) that is owed time goes
before that.

Law: a lab that always has work has its weight's share of the machine within one longest stint, in either direction,
after any sequence of stints of which none is longer than the account knows beforehand (within two, where a stint is
the longest so far); what a floor is owed never exceeds one longest stint for each floor. A lab without work
loses its place to the others, and has nothing to catch up with when it comes back.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

ROUNDING = 1e-9
"""Of the virtual time: sums of the same seconds in another order."""


@dataclass(frozen=True, slots=True)
class Place:
    """One lab's in the division."""

    weight: float
    """Above zero; only what it is beside the others' counts."""
    start: float = 0.0
    """When its next stint begins, in virtual time."""
    spent_s: float = 0.0
    """Seconds of the machine that it had, all together."""
    is_served: bool = True
    """It had or wanted the machine when the last stint ended."""


@dataclass(frozen=True, slots=True)
class Floor:
    """A share of the machine that goes to whoever it is pledged to, before the weights say anything."""

    share: float
    """At most 1, and so are all floors together; 0: it is owed by the clock (`passed`)."""
    owed_s: float = 0.0
    """Seconds that are still to be given; below zero: given in advance, by at most the longest stint."""
    given_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Division:
    """The account of one machine."""

    places: Mapping[str, Place] = field(default_factory=dict)
    """Lab -> its place."""
    floors: Mapping[str, Floor] = field(default_factory=dict)
    """Pledge -> what is left of it to give."""
    now: float = 0.0
    """Virtual time."""
    longest_s: float = 0.0
    """The longest stint so far."""
    at_s: float = 0.0
    """Unix time at which somebody kept the account last; 0: nobody did."""


@dataclass(frozen=True, slots=True)
class Next:
    """Who has the next stint."""

    lab: str
    floor: str | None = None
    """The pledge that it is for; None: the weights gave it."""


def agreed(known: Division, weights: Mapping[str, float], floors: Mapping[str, float]) -> Division:
    """The account with these labs and floors, and no others; who was there before stands where it stood."""
    places = {
        lab: replace(known.places.get(lab, Place(weight, start=known.now)), weight=weight)
        for lab, weight in weights.items()
    }
    kept = {
        name: replace(known.floors.get(name, Floor(share)), share=share)
        for name, share in floors.items()
    }
    return replace(known, places=places, floors=kept)


def came(known: Division, lab: str) -> Division:
    """A lab asks for a stint; while others had the machine and it did not ask, it lost nothing."""
    place = known.places[lab]
    if place.is_served:
        return known
    return _put(known, lab, replace(place, start=max(place.start, known.now), is_served=True))


def next_of(known: Division, waiting: Mapping[str, Collection[str]]) -> Next | None:
    """Who has the next stint.

    waiting: labs that ask for one -> the floors that it would count for. None: nobody asks.
    """
    owed = {name for floors in waiting.values() for name in floors if name in known.floors}
    for name in sorted(owed, key=lambda each: (-known.floors[each].owed_s, each)):
        if known.floors[name].owed_s > 0:
            able = [lab for lab, floors in waiting.items() if name in floors]
            return Next(_first(known, able), name)
    return Next(_first(known, list(waiting))) if waiting else None


def _first(known: Division, labs: list[str]) -> str:
    """By the weights alone."""
    begun = [each for each in labs if known.places[each].start <= known.now + ROUNDING]
    return min(begun or labs, key=lambda each: (*_end(known, each), each))


def _end(known: Division, lab: str) -> tuple[float, float]:
    """Of two that end together the heavier goes first: it has more to lose."""
    place = known.places[lab]
    return place.start + known.longest_s / place.weight, -place.weight


def spent(
    known: Division,
    lab: str,
    seconds: float,
    waiting: Mapping[str, Collection[str]],
    counts_for: Collection[str] = (),
) -> Division:
    """The account after a stint of this lab.

    seconds: how long it had the machine. waiting: labs that had or wanted it meanwhile, this one among them -> floors
    that they would count for. counts_for: floors that this stint was given to.
    """
    longest_s = max(known.longest_s, seconds)
    place = known.places[lab]
    after = replace(
        place, start=place.start + seconds / place.weight, spent_s=place.spent_s + seconds
    )
    known = _put(replace(known, longest_s=longest_s), lab, after)
    weight = sum(known.places[each].weight for each in waiting)
    soonest = min((known.places[each].start for each in waiting), default=known.now)
    now = max(known.now + (seconds / weight if weight else 0.0), soonest)
    most = now + longest_s / place.weight  # what a floor gave beyond the weight is no debt
    known = _put(replace(known, now=now), lab, replace(after, start=min(after.start, most)))
    places = {each: replace(its, is_served=each in waiting) for each, its in known.places.items()}
    wanted = {name for floors in waiting.values() for name in floors} | {*counts_for}
    return replace(
        known,
        places=places,
        floors={
            name: _paid(floor, seconds, longest_s, name in wanted, name in counts_for)
            for name, floor in known.floors.items()
        },
    )


WEEK_S = 7 * 86_400
MOST_AWAY_S = 86_400.0
"""Of the time in which no process kept the account, this much counts: only a clock that may be set tells how long it was."""


def away_s(known: Division, now_s: float) -> float:
    """How long nobody kept the account until this Unix time, as far as it counts; after a clock that was set back, nothing."""
    return min(max(now_s - known.at_s, 0.0), MOST_AWAY_S) if known.at_s else 0.0


def passed(known: Division, hours: Mapping[str, float], elapsed_s: float, now_s: float) -> Division:
    """The account when so many seconds have passed: what is pledged in hours a week is owed whether the machine works or
    not, and for one week at most.

    elapsed_s: by a clock that nobody sets; at first `away_s`. now_s: Unix time, kept for `away_s` alone.
    """
    weeks = max(elapsed_s, 0.0) / WEEK_S
    floors = {
        name: replace(
            floor,
            owed_s=min(floor.owed_s + hours[name] * 3600 * weeks, hours[name] * 3600),
        )
        if name in hours
        else floor
        for name, floor in known.floors.items()
    }
    return replace(known, floors=floors, at_s=now_s)


def _paid(floor: Floor, seconds: float, longest_s: float, is_wanted: bool, is_given: bool) -> Floor:
    """What nobody asks for is not owed."""
    given_s = seconds if is_given else 0.0
    owed_s = floor.owed_s + (floor.share * seconds if is_wanted else 0.0) - given_s
    return replace(floor, owed_s=max(owed_s, -longest_s), given_s=floor.given_s + given_s)


def _put(known: Division, lab: str, place: Place) -> Division:
    return replace(known, places={**known.places, lab: place})
