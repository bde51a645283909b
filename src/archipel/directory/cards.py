"""The newest card of each lab, from any number of sets of them. Pure.

Law: `merged` is commutative, associative and idempotent, so whoever has seen the same cards, in whatever order and however often,
holds the same. Of a lab's cards the highest number counts; two that say different things under one number contradict each other,
and both are kept, as the proof.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from archipel.directory.card import Card

MAX_OF_ONE_LAB = 2
"""Cards: a third that contradicts them proves nothing more."""
Cards = Mapping[str, tuple[Card, ...]]
"""Lab -> its newest card, or two that contradict each other."""


def newest(cards: Iterable[Card]) -> tuple[Card, ...]:
    """Of one lab: the card with the highest number; of several that differ, the two whose digests come first."""
    given = list(cards)
    highest = max((each.said.number for each in given), default=0)
    apart: dict[str, Card] = {}
    for each in given:
        if each.said.number == highest:
            before = apart.get(each.digest, each)  # one text may have more than one signature
            apart[each.digest] = min(before, each, key=lambda card: card.sealed)
    return tuple(apart[digest] for digest in sorted(apart)[:MAX_OF_ONE_LAB])


def by_lab(cards: Iterable[Card]) -> Cards:
    """The newest of each."""
    of: defaultdict[str, list[Card]] = defaultdict(list)
    for each in cards:
        of[each.said.lab].append(each)
    return {did: newest(of[did]) for did in sorted(of)}


def merged(*sets: Cards) -> Cards:
    """All of them together."""
    return by_lab(card for each in sets for cards in each.values() for card in cards)


def in_force(cards: Cards, now_ms: int) -> Cards:
    """Those that may be shown at this time."""
    return by_lab(card for each in cards.values() for card in each if card.is_in_force(now_ms))
