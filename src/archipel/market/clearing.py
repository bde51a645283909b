"""Which offers are bought, and at what price: the lowest sufficient set, paid so that the truth is the best ask.

Integers only, no clock, no chance: the same asks, terms and seed give the same clearing on every machine.

1. A lot's *score* is its ask over its operator's measured quality; lots are ranked by it, ties by the seed.
2. An operator has at most `operator_cap` lots in the ranking, over all of its nodes.
3. The first K lots are bought; behind all asks stand K lots at the reserve price, which means: not bought.
4. An operator with x lots bought is paid, lot by lot, for the x lots that it pushed out: the first x lots behind
   the K-th that are not its own, each at its score times the operator's quality.

This is Vickrey's auction with Clarke's payments (1961, 1971), weighted by quality, over a matroid (K lots, capped by
operator), so that the truth is a best reply whatever the others ask. With one lot a seller it is the threshold
payment quality x score of the (K+1)-th; with equal quality besides, the uniform (K+1)-th price.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from archipel.records.bids import MAX_BID_LOTS
from archipel.records.fields import MAX_PRICE_MICRO

FULL_QUALITY = 1000
"""Per-mille: every answer verified, in time, fresh."""
MAX_WANTED = 65_536
_EXACT = FULL_QUALITY**2
"""Two different scores a/q and b/r differ by at least 1/(q r): so many times as large, their floors differ too."""


class CannotClear(ValueError):
    """Terms or asks that no clearing exists for."""


class Pricing(Enum):
    """How lots that are bought are paid."""

    DISPLACED = "each by a lot that its operator pushed out: truthful for sellers of many lots too"
    UNIFORM = "all by the first lot not bought: truthful only where nobody sells more than one"


@dataclass(frozen=True, slots=True)
class Ask:
    """A node's open bid in one market."""

    seller: str
    operator: str
    """Whose node it is; a node without an operator is its own."""
    micro: int
    """Micro-credits per million verified units."""
    lots: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.micro <= MAX_PRICE_MICRO:
            raise CannotClear(
                f"an ask of {self.micro} micro-credits; expected 1 to {MAX_PRICE_MICRO}"
            )
        if not 0 < self.lots <= MAX_BID_LOTS:
            raise CannotClear(f"an ask for {self.lots} lots; expected 1 to {MAX_BID_LOTS}")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run wants to buy."""

    wanted: int
    """Lots."""
    reserve_micro: int
    """What a lot of full quality may cost at most, per million units."""
    operator_cap: int
    """Lots that are bought of one operator at most."""
    explore_permille: int = 50
    """Part of the lots that is kept for operators whom nobody has measured yet."""
    newcomer_permille: int = 800
    """The quality by which a newcomer is paid: a new name must not earn more than a fair record."""
    pricing: Pricing = Pricing.DISPLACED

    def __post_init__(self) -> None:
        bounds = {
            "wanted": (1, MAX_WANTED),
            "reserve_micro": (1, MAX_PRICE_MICRO),
            "operator_cap": (1, MAX_WANTED),
            "explore_permille": (0, 500),
            "newcomer_permille": (1, FULL_QUALITY),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise CannotClear(f"{name} = {getattr(self, name)}; expected {low} to {high}")


@dataclass(frozen=True, slots=True)
class Award:
    """What is bought of one seller."""

    seller: str
    operator: str
    prices: tuple[int, ...]
    """Micro-credits per million verified units, a lot each; none is below the ask."""
    is_newcomer: bool = False


@dataclass(frozen=True, slots=True)
class Clearing:
    """What came of a round."""

    awards: tuple[Award, ...]
    """By seller."""
    price_micro: int
    """The clearing price: the first score that was not bought (the reserve at most), at full quality."""
    short: int
    """Lots wanted that nobody offers within the reserve."""

    @property
    def spent_micro(self) -> int:
        """For a million units of every lot."""
        return sum(sum(each.prices) for each in self.awards)


class _Lot(NamedTuple):
    """In this order: cheapest score first, then whom the seed prefers."""

    score: int
    tie: bytes
    seller: str
    operator: str
    micro: int
    quality: int


def clear(terms: Terms, asks: Iterable[Ask], qualities: Mapping[str, int], seed: bytes) -> Clearing:
    """Buy `terms.wanted` lots.

    Args:
        terms: what is wanted.
        asks: at most one of each seller; their order says nothing.
        qualities: operator -> per-mille, 1 to FULL_QUALITY. Who is not in it is a newcomer.
        seed: what nobody could know when the bids were sealed: the tree head after the last reveal.

    Raises:
        CannotClear: two asks of one seller, or a quality out of bounds.
    """
    measured, newcomers = _sorted_out(terms, asks, qualities)
    explored = min(
        terms.wanted * terms.explore_permille // 1000, len({a.operator for a in newcomers})
    )
    wanted = terms.wanted - explored
    ranking = _ranking(terms, measured, qualities, seed)
    reserve = _Lot(0, b"", "", "", terms.reserve_micro, FULL_QUALITY)
    bought, behind = ranking[:wanted], [*ranking[wanted:], *[reserve] * wanted]
    price = _scaled(behind[0], FULL_QUALITY)
    awards = [
        *_awards(terms.pricing, bought, behind),
        *_welcomed(newcomers, price * terms.newcomer_permille // FULL_QUALITY, explored, seed),
    ]
    short = terms.wanted - sum(len(each.prices) for each in awards)
    return Clearing(tuple(sorted(awards, key=lambda each: each.seller)), price, short)


def _sorted_out(
    terms: Terms, asks: Iterable[Ask], qualities: Mapping[str, int]
) -> tuple[list[Ask], list[Ask]]:
    """Asks within the reserve: of operators that were measured, and of newcomers."""
    seen: set[str] = set()
    measured, newcomers = list[Ask](), list[Ask]()
    for ask in asks:
        if ask.seller in seen:
            raise CannotClear(f"two asks of {ask.seller}; expected one of each seller")
        seen.add(ask.seller)
        known = qualities.get(ask.operator)
        quality = terms.newcomer_permille if known is None else known
        if not 0 < quality <= FULL_QUALITY:
            raise CannotClear(
                f"a quality of {quality} for {ask.operator}; expected 1 to {FULL_QUALITY}"
            )
        if ask.micro * FULL_QUALITY <= terms.reserve_micro * quality:
            (newcomers if known is None else measured).append(ask)
    return measured, newcomers


def _ranking(
    terms: Terms, asks: Sequence[Ask], qualities: Mapping[str, int], seed: bytes
) -> list[_Lot]:
    """Every lot that counts, best first: of each operator the best `operator_cap`."""
    most = min(terms.operator_cap, terms.wanted)
    ties = {operator: _tie(seed, operator) for operator in {ask.operator for ask in asks}}
    ranked, taken = list[_Lot](), Counter[str]()
    firsts = sorted(
        (_lot(ask, qualities[ask.operator], ties[ask.operator]), ask.lots) for ask in asks
    )
    for lot, offered in firsts:
        number = min(offered, most - taken[lot.operator])
        taken[lot.operator] += number
        ranked += [lot] * number
    return ranked


def _lot(ask: Ask, quality: int, tie: bytes) -> _Lot:
    score = ask.micro * _EXACT // quality
    return _Lot(score, tie, ask.seller, ask.operator, ask.micro, quality)


def _awards(pricing: Pricing, bought: Sequence[_Lot], behind: Sequence[_Lot]) -> list[Award]:
    """Step 4. behind: every lot not bought, then as many at the reserve as may be bought."""
    by_operator: dict[str, list[_Lot]] = {}
    for lot in bought:
        by_operator.setdefault(lot.operator, []).append(lot)
    awards = list[Award]()
    for operator, lots in by_operator.items():
        displaced = (
            [behind[0]] * len(lots)
            if pricing is Pricing.UNIFORM
            else _first_of_others(behind, operator, len(lots))
        )
        prices: dict[str, list[int]] = {}
        for own, other in zip(lots, displaced, strict=True):
            prices.setdefault(own.seller, []).append(_scaled(other, own.quality))
        awards += [Award(seller, operator, tuple(paid)) for seller, paid in prices.items()]
    return awards


def _first_of_others(behind: Sequence[_Lot], operator: str, number: int) -> list[_Lot]:
    found = list[_Lot]()
    for lot in behind:
        if len(found) == number:
            break
        if lot.operator != operator:
            found.append(lot)
    return found


def _scaled(lot: _Lot, quality: int) -> int:
    """What a lot of this quality costs at that lot's score, rounded down: at most what makes it win."""
    return lot.micro * quality // lot.quality


def _welcomed(newcomers: Sequence[Ask], price: int, lots: int, seed: bytes) -> list[Award]:
    """One lot each for newcomers who work at this price, whoever the seed prefers: no ask earns more of it."""
    cheapest: dict[str, Ask] = {}
    for ask in sorted(newcomers, key=lambda each: (each.micro, each.seller)):
        cheapest.setdefault(ask.operator, ask)
    willing = [ask for ask in cheapest.values() if ask.micro <= price]
    willing.sort(key=lambda ask: _tie(seed, ask.operator))
    return [Award(ask.seller, ask.operator, (price,), is_newcomer=True) for ask in willing[:lots]]


def _tie(seed: bytes, operator: str) -> bytes:
    return hashlib.sha256(b"archipel-tie\0" + seed + b"\0" + operator.encode()).digest()
