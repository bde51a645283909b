"""What is taken in of one source: rows, what was refused, and which names were known already.

Laws: a model is known by its id, or by a name that the table of aliases gives to this kind of source; any other name
becomes a model of its own. The first row of an id stays, a second one is refused as a duplicate. Nothing is guessed.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from archipel.observatory.importers.cells import slug
from archipel.observatory.manifest import Source, first_fault
from archipel.observatory.rows import TABLES, UNKNOWN, OrganisationRow, Row
from archipel.observatory.snapshot import Snapshot

MAX_REFUSED_TOLD = 1_000
"""Kept with their reasons; all are counted."""


class TooStrict(ValueError):
    """Something was refused, and nothing may be."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that did not become a row."""

    place: str
    """Where in the source."""
    why: str

    def line(self) -> str:
        """For a person."""
        return f"{self.place}: {self.why}"


@dataclass(frozen=True, slots=True)
class Names:
    """Who is known before anything is taken in."""

    kind: str
    """Of source: models that nobody knows get ids below it."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Name -> id, as the table of aliases has it for this kind of source."""
    organisations: Mapping[str, str] = field(default_factory=dict)
    onto: Snapshot | None = None
    """What the rows are added to."""


@dataclass(slots=True)
class Taking:
    """Rows of one source as they come."""

    source: Source
    names: Names
    is_strict: bool = False
    tables: dict[str, dict[str, Row]] = field(default_factory=lambda: {name: {} for name in TABLES})
    refused: list[Refused] = field(default_factory=list)
    num_refused: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    """`lines`, `joined` (names of models that were known), `apart` (that were not), and what an importer counts."""
    unused: tuple[str, ...] = ()
    """Columns that nothing was taken from."""
    _ids: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def day(self) -> str:
        """The source was read."""
        return self.source.retrieved

    def refuse(self, place: str, why: str) -> None:
        """Count it, and keep the reason of the first ones.

        Raises:
            TooStrict: nothing may be refused.
        """
        if self.is_strict:
            raise TooStrict(f"{place}: {why}; without --strict it would be left out and counted")
        self.num_refused += 1
        if len(self.refused) < MAX_REFUSED_TOLD:
            self.refused.append(Refused(place, why[:400]))

    def model(self, name: str, place: str, /, **facts: Any) -> str | None:
        """The id of the model that this source calls `name`, with a row of its own if it was not known; None: refused.

        facts: of a model's row; what is left out is unknown.
        """
        known = self._known(name)
        if known is not None:
            self.counted["joined"] += 1
            return known
        model_id = facts.pop("id", None) or self.id_of(name)
        if model_id in self.tables["models"]:
            self.refuse(place, f"a second line of {name!r:.80}; the first one stays")
            return None
        made = self.row("models", place, {**_NOTHING, "id": model_id, "name": name, **facts})
        self.counted["apart"] += made
        return model_id if made else None

    def id_of(self, name: str) -> str:
        """Of a model by that name: a known one's, else one below the kind of source, always the same within it."""
        return self._known(name) or self._own("", name)

    def organisation(self, name: str, place: str, country: str = UNKNOWN) -> str | None:
        """The id of an organisation that this source calls `name`; None: its row was refused.

        A country that no earlier line said may be said by a later one.
        """
        known = self.names.organisations.get(name)
        own = known if known is not None and self._is_there("organisations", known) else None
        own = own or self._own("org-", name)
        return own if self.organisation_of(own, name, place, country) else None

    def organisation_of(self, own: str, name: str, place: str, country: str = UNKNOWN) -> bool:
        """See that the organisation `own` has a row; whether it has."""
        if self._is_there("organisations", own):
            return True
        before = self.tables["organisations"].get(own)
        if not isinstance(before, OrganisationRow):
            values = {"id": own, "name": name, "country": country, "kind": UNKNOWN}
            return self.row("organisations", place, values)
        if country not in (UNKNOWN, before.country):
            if before.country == UNKNOWN:
                settled = before.model_copy(update={"country": country, "row": place})
                self.tables["organisations"][own] = settled
            else:
                self.refuse(place, f"{name!r:.60} is of {country}, and above of {before.country}")
        return True

    def row(self, table: str, place: str, values: Mapping[str, Any]) -> bool:
        """Take a row in, or refuse it; whether it was taken."""
        whole = {"source": self.source.id, "row": place[:300], **values}
        try:
            made = TABLES[table].model_validate(whole)
        except ValidationError as error:
            self.refuse(place, f"no row of {table}: {first_fault(error)}")
            return False
        if made.id in self.tables[table] or self._is_there(table, made.id):
            self.refuse(place, f"a second row {made.id!r:.120} of {table}; the first one stays")
            return False
        self.tables[table][made.id] = made
        return True

    def about(self, table: str, word: str, model: str, place: str, **values: Any) -> bool:
        """A row about a model, whose id is made of the source, a word and the model."""
        row_id = f"{self.source.id}:{word}:{model}"
        return self.row(table, place, {"id": row_id, "model": model, **values})

    def _known(self, name: str) -> str | None:
        for each in (self.names.models.get(name), name):
            if each is not None and self._is_there("models", each):
                return each
        return None

    def _is_there(self, table: str, row_id: str) -> bool:
        """In the snapshot that rows are added to."""
        onto = self.names.onto
        if onto is None:
            return False
        if table == "models":
            return row_id in onto.models
        if table == "organisations":
            return row_id in onto.organisations
        return False

    def _own(self, prefix: str, name: str) -> str:
        """Below the kind of source: another name that reads the same gets eight digits of its hash."""
        plain = f"{self.names.kind}/{prefix}{slug(name) or 'nameless'}"
        if self._ids.setdefault((prefix, plain), name) != name:
            plain += "-" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
        return plain


_NOTHING = {
    "organisations": (),
    "released": UNKNOWN,
    "kind": UNKNOWN,
    "access": UNKNOWN,
    "params": UNKNOWN,
    "licence": UNKNOWN,
    "parents": UNKNOWN,
}
"""Of a model's row."""
