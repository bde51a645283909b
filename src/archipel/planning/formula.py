"""Formulas in tables and sheets: arithmetic over the names of quantities, such as "claim.gpus * purchase.h100".

sum     = product (("+" | "-") product)*
product = power (("*" | "/") power)*
power   = value ("^" value)?
value   = number ("[" unit "]")? | name | name "@" vintage | name "@" variant | law "(" sum ("," sum)* ")" | "(" sum ")"

A name has at least one dot and may hold hyphens, so a minus needs a space before it; a variant begins with a
letter and belongs to the name. Laws, powers and units belong to the package's own sheets, which give a table of
laws; elsewhere they are refused. Law: no formula is ever evaluated by Python.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from archipel.planning.mistakes import CannotPlan
from archipel.planning.quantity import Quantity, pure

MAX_FORMULA_CHARS = 400
"""Longer than any reading that a person can check by eye."""
MAX_DEPTH = 20
Lookup = Callable[[str, str], Quantity]
"""Takes a name and a vintage, empty for the newest."""
Laws = Mapping[str, Callable[[Sequence[Quantity]], Quantity]]
"""What a formula may call, by name."""

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)+(?:@[A-Za-z][A-Za-z0-9_-]*)?)(?:@(?P<vintage>\d{4}-\d{2}))?"
    r"|(?P<law>[a-z][a-z0-9_]*)(?=\()"
    r"|(?P<number>\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?:\s*\[(?P<unit>[^\]]*)\])?|(?P<sign>[-+*/^,()]))"
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    more: str = ""
    """The vintage of a name, the unit of a number."""


def formula(text: str, lookup: Lookup, where: str, laws: Laws | None = None) -> Quantity:
    """The quantity that a formula stands for.

    Raises:
        CannotPlan: not a formula; says what was expected. Errors of `lookup` and of units pass through.
    """
    reader = _Reader(_tokens(text, where, laws is not None), lookup, where, text, laws or {})
    found = reader.sum(0)
    if reader.place != len(reader.tokens):
        raise reader.mistake("an operator")
    return found


@functools.lru_cache(maxsize=1024)  # kinds side by side read the same sheet
def _tokens(text: str, where: str, ours: bool) -> tuple[_Token, ...]:
    if len(text) > MAX_FORMULA_CHARS:
        raise CannotPlan(f"{where}: {len(text)} characters, expected at most {MAX_FORMULA_CHARS}")
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        beyond = match and (
            match["law"] or match["unit"] is not None or match["sign"] in ("^", ",")
        )
        if match is None or (beyond and not ours):
            raise CannotPlan(
                f"{where}: got {text[place:].strip()[:40]!r}, expected names such as "
                "purchase.h100, numbers, + - * / and brackets"
            )
        kind = next(kind for kind in ("name", "law", "number", "sign") if match[kind] is not None)
        found.append(_Token(kind, match[kind], match["vintage"] or match["unit"] or ""))
        place = match.end()
    return tuple(found)


@dataclass
class _Reader:
    tokens: tuple[_Token, ...]
    lookup: Lookup
    where: str
    text: str
    laws: Laws = field(default_factory=dict)
    place: int = 0

    def sum(self, depth: int) -> Quantity:
        if depth > MAX_DEPTH:
            raise CannotPlan(f"{self.where}: more than {MAX_DEPTH} brackets within each other")
        found = self.product(depth)
        while sign := self.take("+-"):
            other = self.product(depth)
            found = found + other if sign == "+" else found - other
        return found

    def product(self, depth: int) -> Quantity:
        found = self.power(depth)
        while sign := self.take("*/"):
            other = self.power(depth)
            found = found * other if sign == "*" else found / other
        return found

    def power(self, depth: int) -> Quantity:
        found = self.value(depth)
        return found ** self.value(depth) if self.take("^") else found

    def value(self, depth: int) -> Quantity:
        if self.take("("):
            found = self.sum(depth + 1)
            self.close()
            return found
        if self.place == len(self.tokens) or self.tokens[self.place].kind == "sign":
            raise self.mistake("a name or a number")
        token = self.tokens[self.place]
        self.place += 1
        if token.kind == "number":
            return pure(float(token.text), token.more)
        if token.kind == "law":
            return self.called(token.text, depth)
        return self.lookup(token.text, token.more)

    def called(self, law: str, depth: int) -> Quantity:
        """The result of a law; its brackets follow."""
        if law not in self.laws:
            self.place -= 1
            raise self.mistake(f"one of the laws {', '.join(self.laws)}")
        self.take("(")
        given = [self.sum(depth + 1)]
        while self.take(","):
            given.append(self.sum(depth + 1))
        self.close()
        return self.laws[law](given)

    def close(self) -> None:
        """Take the closing bracket."""
        if not self.take(")"):
            raise self.mistake("a closing bracket")

    def take(self, signs: str) -> str:
        """The next token if it is one of these signs, else nothing."""
        if self.place < len(self.tokens) and self.tokens[self.place].kind == "sign":
            text = self.tokens[self.place].text
            if text in signs:
                self.place += 1
                return text
        return ""

    def mistake(self, expected: str) -> CannotPlan:
        got = self.tokens[self.place].text if self.place < len(self.tokens) else "the end"
        return CannotPlan(f"{self.where}: {self.text!r}: got {got!r}, expected {expected}")
