"""Names that people say are the same: a file of lines `kind,name,id`, and the aliases that a snapshot has already.

Law: an alias is somebody's statement, with its place; likeness of names is none.
"""

from collections.abc import Iterable
from typing import BinaryIO, Final

from archipel.observatory.importers.lines import BadTable, Column, read_table
from archipel.observatory.importers.taking import Names
from archipel.observatory.snapshot import Snapshot

COLUMNS: Final = {
    "kind": Column(("kind",), is_needed=True),
    "name": Column(("name",), is_needed=True),
    "id": Column(("id",), is_needed=True),
}
MAX_ALIASES = 100_000
_KINDS: Final = ("model", "organisation")


def read_aliases(file: BinaryIO) -> tuple[tuple[str, str, str], ...]:
    """(model or organisation, name, id) of each line.

    Raises:
        BadTable: not the table, another kind, or one name for two ids.
    """
    found: dict[tuple[str, str], str] = {}
    for line in read_table(file, COLUMNS).lines:
        kind, name, own = line.get("kind"), line.get("name"), line.get("id")
        if line.why_not or kind not in _KINDS or not name or not own:
            raise BadTable(
                f"aliases, line {line.number}: {line.why_not or f'{kind!r:.30}, {name!r:.60}, {own!r:.60}'}; "
                "expected model or organisation, a name and an id"
            )
        if found.setdefault((kind, name), own) != own or len(found) > MAX_ALIASES:
            raise BadTable(
                f"aliases, line {line.number}: {name!r:.80} is said of two ids, or too many"
            )
    return tuple((kind, name, own) for (kind, name), own in found.items())


def names_of(kind: str, onto: Snapshot | None, said: Iterable[tuple[str, str, str]] = ()) -> Names:
    """What a source of this kind calls things. kind: the word before the dash of its id, as `epoch` of `epoch-2026`.

    Raises:
        BadTable: an alias leads to an id that the snapshot lacks.
    """
    models: dict[str, str] = {}
    organisations: dict[str, str] = {}
    for each in onto.aliases if onto is not None else ():
        if each.used_by.split("-")[0] == kind:
            models[each.name] = each.model
    for what, name, own in said:
        there = onto is not None and own in (onto.models if what == "model" else onto.organisations)
        if not there:
            raise BadTable(f"the alias {name!r:.80} leads to {own!r:.80}, which the snapshot lacks")
        (models if what == "model" else organisations)[name] = own
    return Names(kind, models, organisations, onto)
