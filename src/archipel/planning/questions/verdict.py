"""The sentences that answer a question: the clauses of a sheet's `[verdict]`, over what came out.

A clause is a list of [condition, sentence]; the first is said whose condition holds and whose quantities all
exist. A condition is empty, or tests joined by " and ": `formula < formula`, `formula > formula`, the same
after `likely` or `unlikely` (in how many worlds, by `deciding`), a formula that is not nothing, or `{word} is
text`, `{word} is not text`. In a sentence {=formula} is an amount with its interval, {~formula} the amount
alone, either in another unit as {=formula in unit}, or `in $` where the sentence says per what, and
{?formula < formula} the share of worlds in which that holds. Law: numbers are rounded by their uncertainty; worlds are those of `deciding`, whatever was asked.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from archipel.planning.quantity import Quantity
from archipel.planning.questions.deciding import LIKELY, share_of_worlds
from archipel.planning.sampling import Draws
from archipel.planning.units import spell
from archipel.planning.wording import amount_in_words, estimate_in_words

Clause = Sequence[Sequence[str]]
_TEST = re.compile(r"(?:(?P<how>likely|unlikely) )?(?P<left>.+?) (?P<sign>[<>]) (?P<right>.+)")
_SAME = re.compile(r"(?P<left>.*?) is (?P<no>not )?(?P<right>.+)")
_HOLE = re.compile(r"\{([=~?])([^{}]+)\}")
MONEY = "$"
_LONE = re.compile(r" (?=[,;.:)])")
"""Between a clause and one that goes on with its sentence."""


class Untold(Exception):  # no fault: the next sentence of the clause may need less
    """A sentence needs what does not exist here."""


@dataclass(frozen=True)
class Teller:
    """What sentences are told from. Both raise `Untold` where something does not exist."""

    fill: Callable[[str], str]
    """A text with its words."""
    reckon: Callable[[str], Quantity]
    """The quantity of a formula."""
    worlds: Draws

    def told(self, clauses: Iterable[Clause]) -> str:
        """What is said: each clause by its first sentence that can be said, or not at all."""
        found = (self._sentence(clause) for clause in clauses)
        return _LONE.sub("", " ".join(text for text in found if text))

    def _sentence(self, clause: Clause) -> str:
        for condition, sentence in clause:
            try:
                if self._holds(condition):
                    return _HOLE.sub(self._hole, self.fill(sentence))
            except Untold:
                continue
        return ""

    def _holds(self, condition: str) -> bool:
        tests = self.fill(condition).split(" and ") if condition else []
        return all(self._test(test.strip()) for test in tests)

    def _test(self, test: str) -> bool:
        if same := _SAME.fullmatch(test):
            return (same["left"].strip() == same["right"]) is not bool(same["no"])
        found = _TEST.fullmatch(test)
        if found is None:
            return self.worlds.centre(self.reckon(test)) != 0
        if found["how"]:
            share = self._share(found)
            return share >= LIKELY if found["how"] == "likely" else share <= 1.0 - LIKELY
        difference, holds = self._comparison(found)
        return bool(holds(self.worlds.centre(difference)))

    def _share(self, test: re.Match[str]) -> float:
        """The share of worlds in which a comparison holds."""
        difference, holds = self._comparison(test)
        return share_of_worlds(difference, holds, self.worlds)

    def _comparison(self, test: re.Match[str]) -> tuple[Quantity, Callable[[Any], Any]]:
        """Left less right, in one unit, and what must be true of it."""
        difference = self.reckon(test["left"]) - self.reckon(test["right"])
        is_less = test["sign"] == "<"
        return difference, (lambda each: each < 0) if is_less else (lambda each: each > 0)

    def _hole(self, match: re.Match[str]) -> str:
        sign, text = match.groups()
        if sign == "?":
            test = _TEST.fullmatch(text)
            if test is None:
                raise ValueError(f"{text!r}: expected a comparison such as a.b < 1")
            return share_in_words(self._share(test))
        text, _, unit = text.partition(" in ")
        found = self.reckon(text)
        if unit and unit != MONEY:
            found = found.to(unit)
        spelled = spell(found.unit)
        shown = spelled.partition("/")[0] if unit == MONEY else spelled
        row = vars(self.worlds.estimate(found)) | {"unit": shown}
        return estimate_in_words(row) if sign == "=" else amount_in_words(row)


def share_in_words(share: float) -> str:
    """How many of the sampled worlds; of those that nobody drew nothing is said."""
    if share > 0.995:
        return "more than 99% of sampled worlds"
    if share < 0.005:
        return "less than 1% of sampled worlds"
    return f"{share:.0%} of sampled worlds"
