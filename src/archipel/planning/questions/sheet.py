"""A question's sheet bound to what was asked: its rows as quantities, its tables and bars as parts of a plan.

A sheet (`sheets/*.toml`) states each quantity once, `name = [unit, words, formula]`; a fourth entry, a list or
the name of one, repeats the row with {part} for each; a list is names, or a group of constants for its members.
{word} in any text stands for a word of the question, a fact of the tables or what a constant is `.about`, {*list}
in a list for another's entries, {+list} in a formula for their sum, {name|other} for the first name if it was given
or is a constant, else the other; a word of the sheet may be a clause of the verdict. What an empty word is needed
for does not exist: its row, its remark, its row of a table and whatever rests on it are left out, and a table
without rows. A row of a table may be {over, row or rows, if}: repeated, if the word in `if` is not empty.
[verdict] holds the sentences that answer. Law: rows are made when they are asked for, from what was given, other rows, then the shelf.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from archipel.planning.formula import formula
from archipel.planning.mistakes import Impossible
from archipel.planning.plan import Bars, Cell, Table
from archipel.planning.quantity import Quantity, given
from archipel.planning.questions import bounds
from archipel.planning.questions.bounds import LEAST_SHARE, bounded, checked, share_of
from archipel.planning.questions.deciding import worlds_like
from archipel.planning.questions.lawbook import LAWS
from archipel.planning.questions.verdict import Teller, Untold
from archipel.planning.requests.option import Request, read_sheet
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf
from archipel.planning.units import kind_of

_HOLE = re.compile(r"\{([+]?)([^{}=~?][^{}]*)\}")
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
"""Names of members that a formula can hold; a person's own table may have others."""
_STEP = "step."
"""Rows below it are steps of formulas: they have no name in the plan."""


@dataclass(frozen=True)
class _Row:
    unit: str
    about: str
    formula: str
    words: Mapping[str, str]


@dataclass
class Sheet:
    """A sheet with its words, and what the person gave in place of constants."""

    name: str
    shelf: Shelf
    words: dict[str, str]
    given: dict[str, Quantity] = field(default_factory=dict)
    parts: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """Lists that the question makes: the entries of each, and their words."""

    def __post_init__(self) -> None:
        """Lay out the rows; nothing is computed."""
        self._made: dict[str, Quantity] = {}
        self._text = read_sheet(self.name)
        self._rows: dict[str, _Row] = {}
        for text in (*map(read_sheet, self._text.get("include", [])), self._text):
            self._lay_out(text["rows"])

    def __getitem__(self, name: str) -> Quantity:
        """The quantity of this name: as given, by its row, or a constant."""
        if name in self.given:
            return self.given[name]
        if name in self._text.get("names", {}):
            return self[self.fill(self._text["names"][name])]
        if name not in self._rows:
            return self.shelf[name]
        if name not in self._made:
            self._made[name] = self._make(name, self._rows[name])
        return self._made[name]

    def get(self, name: str) -> Quantity | None:
        """The same, or None if it does not exist."""
        try:
            return self[name]
        except Untold:
            return None

    def find(self, name: str) -> Quantity | None:
        """A quantity that was given or has a row, by its name in the plan."""
        known = name in self.given or (name in self._rows and not name.startswith(_STEP))
        found = self.get(name) if known else None
        return found if found is not None and found.name == name else None

    def known(self) -> list[str]:
        """The names of what was given and of the rows, steps of formulas aside."""
        return [*self.given, *(name for name in self._rows if not name.startswith(_STEP))]

    def entries(self, of: str | Sequence[str]) -> list[str]:
        """The entries of a list, or of a list's name."""
        if not isinstance(of, str):
            return list(of)
        found = [*self.parts[of]] if of in self.parts else self._text["lists"][of]
        if isinstance(found, str):
            return [name for name in self.shelf.members(found) if _PLAIN.fullmatch(name)]
        nested = [self.entries(e[2:-1]) if e.startswith("{*") else [e] for e in found]
        return [entry for part in nested for entry in part]

    def present(self, of: str | Sequence[str]) -> list[Quantity]:
        """The quantities of a list that exist."""
        found = [self.get(name) for name in self.entries(of)]
        return [each for each in found if each is not None]

    def words_of(self, part: str) -> dict[str, str]:
        """The words of an entry, the sheet's and the question's."""
        words = {"part": part, **self._text.get("parts", {}).get(part, {})}
        for entries in self.parts.values():
            words |= entries.get(part, {})
        return words

    def arguments(self, word: str) -> list[str]:
        """The names that a word lists for a law."""
        return [name.strip() for name in self.fill(f"{{{word}}}").split(",")]

    def fill(self, text: str, words: Mapping[str, str] | None = None) -> str:
        """A text with its words."""
        if "{" not in text:
            return text
        known: dict[str, Any] = {**self._text.get("words", {}), **self.words, **(words or {})}

        def word(match: re.Match[str]) -> str:
            sign, key = match.groups()
            first, bar, other = key.partition("|")
            if bar:
                return first if first in self.given or first in self.shelf else other
            if sign:
                found = " + ".join(name for name in self.entries(key) if self.get(name))
            elif key in known:
                clause = known[key]
                found = clause if isinstance(clause, str) else self._teller().told([clause])
            elif "." not in key:
                raise KeyError(f"sheet {self.name}: no word {key} for {text!r}")
            else:  # it may be a person's own and hold anything
                return self._constant(key).replace("{", "(").replace("}", ")")
            if not found:
                raise Untold
            return found

        while _HOLE.search(text):
            text = _HOLE.sub(word, text)
        return text

    def _constant(self, key: str) -> str:
        """A fact of the tables, or what a constant is."""
        constant, _, about = key.rpartition(".")
        if about == "about" and constant in self.shelf:
            return self.shelf.entry(constant).about
        return self.shelf.fact(key, key.split(".")[-2])

    def title(self) -> str:
        """The sentence that says what is planned."""
        return self.fill(self._text["title"])

    def remarks(self) -> tuple[str, ...]:
        """The caveats, each a sentence or a clause as those of the verdict."""
        clauses = [[["", e]] if isinstance(e, str) else e for e in self._text["remarks"]]
        found = (self._teller().told([clause]) for clause in clauses)
        return tuple(text for text in found if text)

    def verdict(self, draws: Draws | None = None) -> str:
        """The sentences that answer, by the worlds of `deciding`; `draws` is used if it holds the same."""
        return self._teller(draws).told(self._text.get("verdict", {}).values())

    def told(self, clause: str) -> str:
        """What a clause of the sheet outside its verdict says; nothing if none of its conditions holds."""
        return self._teller().told([self._text[clause]])

    def _teller(self, draws: Draws | None = None) -> Teller:
        return Teller(self.fill, self.reckon, worlds_like(draws))

    def answers(self) -> tuple[Quantity, ...]:
        """The headline."""
        return tuple(self.present(self._text["answers"]))

    def tables(self) -> list[Table]:
        """Every table of the sheet that has a title and a row."""

        def heads(columns: Sequence[str]) -> tuple[str, ...]:
            return tuple(self.fill(each) for each in columns)

        found = []
        for title, (columns, listed, *about) in self._text["tables"].items():
            said = self._filled(title)
            rows = tuple(self._table_rows(listed)) if said else ()
            if said and rows:
                found.append(Table(said, heads(columns), rows, *map(self.fill, about)))
        return found

    def bars(self) -> list[Bars]:
        """Every bar chart of the sheet."""
        return [
            Bars(title, tuple((each.about, each) for each in self.present(parts)), unit)
            for title, (unit, parts) in self._text["bars"].items()
        ]

    def _lay_out(self, rows: Mapping[str, Any]) -> None:
        for name, (unit, about, text, *over) in rows.items():
            for part in self.entries(over[0]) if over else [""]:
                its = self._rows[part].about if part in self._rows else ""
                words = {"about": its, **self.words_of(part)}
                self._rows[self.fill(name, words)] = _Row(unit, about, text, words if over else {})

    def reckon(self, text: str, where: str = "verdict") -> Quantity:
        """The quantity of a formula over the sheet's names."""

        def look_up(wanted: str, vintage: str) -> Quantity:
            return self[f"{wanted}@{vintage}" if vintage else wanted]

        return formula(text, look_up, f"sheet {self.name}: {where}", LAWS)

    def _make(self, name: str, row: _Row) -> Quantity:
        found = self.reckon(self.fill(row.formula, row.words), name)
        if name.startswith(_STEP):
            return found.to(row.unit) if row.unit else found
        return found.named(name, self.fill(row.about, row.words), self.fill(row.unit, row.words))

    def _table_rows(self, rows: Sequence[Any]) -> Iterator[tuple[Cell, ...]]:
        for row in rows:
            said: dict[str, Any] = row if isinstance(row, dict) else {"over": [""], "row": row}
            if self._filled(said.get("if", "")) is None:
                continue
            for part in self.entries(said["over"]):
                for each in said.get("rows", [said.get("row")]):
                    found = self._table_row(each, part)
                    if found:
                        yield found

    def _table_row(self, row: str | Sequence[str], part: str) -> tuple[Cell, ...]:
        """A quantity's words and itself, or the cells given; nothing if a quantity does not exist."""
        if isinstance(row, str):
            row = ["{about}", f"={row}"]
        words = self.words_of(part)
        cells = [self._cell(text, words) for text in row[1:]]
        found = [cell for cell in cells if cell is not None]
        if len(found) < len(cells):
            return ()
        words["about"] = found[0].about if isinstance(found[0], Quantity) else ""
        first = self._cell(row[0], words)
        return () if first is None else (first, *found)

    def _cell(self, text: str, words: Mapping[str, str]) -> Cell | None:
        """A text, perhaps with amounts, or the quantity named after `=`, or what stands after `|` if there is none."""
        filled = self._filled(text, words)
        if filled is None:
            return None
        if "{~" in filled:
            return self._teller().told([[["", filled]]])
        name, bar, otherwise = filled.partition("|")
        if name[:1] != "=" or name[1:2] == " ":
            return name
        return self.get(name[1:]) or (otherwise if bar else None)

    def _filled(self, text: str, words: Mapping[str, str] | None = None) -> str | None:
        """A text with its words, or None if one of them is empty."""
        try:
            return self.fill(text, words)
        except Untold:
            return None


def inputs(
    name: str, request: Request, words: Mapping[str, str], shelf: Shelf
) -> dict[str, Quantity]:
    """What the person gave in place of constants: the options of a sheet that set something.

    Raises:
        CannotPlan: not an amount of that kind, or outside its bounds.
    """
    found, asked = {}, asdict(request)
    for option, row in read_sheet(name)["options"].items():
        written = asked[option]
        if "sets" not in row or not written:
            continue
        sets, said = row["sets"].format_map(words), f"--{option.replace('_', '-')}"
        about = row["about"] if "about" in row else shelf.entry(sets).about
        value, unit = _read(written, said, row)
        found[sets] = given(sets, value, unit, said, about)
    return found


def _read(written: str, said: str, row: Mapping[str, str]) -> tuple[float, str]:
    """The amount in its unit, or its refusal with the option's hint."""
    try:
        if row["bounds"] in ("SHARE", "PART"):
            least = LEAST_SHARE if row["bounds"] == "SHARE" else 0.0
            return share_of(written, said, least=least), "1"
        of = getattr(bounds, row["bounds"])
        unit = row.get("unit", of.unit)
        if "also" not in row:
            return bounded(written, of, said), unit
        value = kind_of(written, {"amount": of.unit, "other": row["also"]}, said)[1]
        return checked(value, of, written, said), unit
    except Impossible as mistake:
        raise Impossible(f"{mistake}; {row['hint']}" if "hint" in row else str(mistake)) from None
