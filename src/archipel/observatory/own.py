"""Our own releases as rows, graded like anybody else's: from the bytes of their folders.

Law: a release's word about itself is not believed; its class is that of `release.openness`, and what its bytes do not
show is unknown. Nothing of it is downloaded, run or counted here.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path

from archipel.observatory.manifest import Source
from archipel.observatory.rows import (
    MAX_TEXT_CHARACTERS,
    UNKNOWN,
    Access,
    DisclosureRow,
    ModelRow,
    OpennessRow,
    OrganisationRow,
    Row,
)
from archipel.observatory.snapshot import About, Snapshot, make
from archipel.records.canonical import sha256_digest
from archipel.release import places
from archipel.release.index import MAX_INDEX_BYTES, Released, read_index
from archipel.release.openness import mof
from archipel.release.openness.card import Grade
from archipel.release.openness.grade import CannotGrade, grade

MAX_RELEASES = 1000


class CannotAdd(ValueError):
    """A folder that is no release, or is in the snapshot already; says which."""


@dataclass(frozen=True)
class Graded:
    """A release and its class."""

    released: Released
    digest: str
    """SHA-256 of its release.json."""
    grade: Grade
    folder: str
    """Its folder's name, for people."""


def releases_below(folder: Path) -> tuple[Path, ...]:
    """The release that `folder` is, or those directly in it.

    Raises:
        CannotAdd: neither.
    """
    if (folder / places.INDEX).is_file():
        return (folder,)
    found = tuple(sorted(each for each in folder.iterdir() if (each / places.INDEX).is_file()))
    if not 0 < len(found) <= MAX_RELEASES:
        raise CannotAdd(
            f"{folder} is no release and holds {len(found)}; expected 1 to {MAX_RELEASES} folders "
            f"with {places.INDEX}"
        )
    return found


def graded(folder: Path) -> Graded:
    """A release, its class computed from its bytes.

    Raises:
        CannotAdd: its index is none, or nothing there can be graded.
    """
    try:
        with (folder / places.INDEX).open("rb") as file:
            data = file.read(MAX_INDEX_BYTES + 1)
        return Graded(read_index(data), sha256_digest(data), grade(folder), folder.name)
    except (CannotGrade, ValueError, OSError) as error:
        raise CannotAdd(f"{folder}: {error!s:.300}") from None


def added(snapshot: Snapshot, found: tuple[Graded, ...], day: str, made_at_ms: int) -> Snapshot:
    """A new snapshot: the old one's rows, and a model, its lab, class and data's disclosure for each release.

    day: YYYY-MM-DD, when the releases were looked at.

    Raises:
        CannotAdd: one is there already.
        InvalidSnapshot: rows do not fit.
    """
    tables: dict[str, dict[str, Row]] = {
        name: {row.id: row for row in rows} for name, rows in snapshot.tables.items()
    }
    sources = {each.id: each for each in snapshot.manifest.sources}
    for each in found:
        source = _source(each, day)
        sources[source.id] = source
        for table, row in _rows(each, source.id, day):
            if table != "organisations" and row.id in tables[table]:
                raise CannotAdd(f"{each.folder}: {row.id:.120} is in this snapshot already")
            tables[table].setdefault(row.id, row)
    about = About(
        name=snapshot.manifest.name,
        day=max(day, snapshot.manifest.day),
        made_at_ms=made_at_ms,
        sources=tuple(sources.values()),
        made_from=(snapshot.digest,),
    )
    return make(about, {name: rows.values() for name, rows in tables.items()})


def _source(each: Graded, day: str) -> Source:
    return Source(
        id=f"release-{each.digest.removeprefix('sha256:')[:16]}",
        title=f"A release of run {each.released.run}, version {each.released.version}",
        url=each.digest,
        retrieved=day,
        hand="read",
        licence=UNKNOWN,
        note="Its class was computed from its bytes; the address is the digest of its release.json.",
    )


def _rows(each: Graded, source: str, day: str) -> list[tuple[str, Row]]:
    index, parts = each.released, {part.component: part for part in each.grade.parts}
    weights, data = parts[mof.PARAMETERS], parts[mof.DATASETS]
    is_here = weights.level in ("present", "reproduced")
    access: Access = "closed" if not is_here else "open" if weights.counts else "restricted"
    model = f"{index.lab}/{index.run}@{index.version}"
    where = places.INDEX
    released = datetime.datetime.fromtimestamp(index.at_ms / 1000, datetime.UTC).date().isoformat()
    return [
        ("organisations", OrganisationRow(
            id=index.lab, source=source, row=where, name=index.lab, country=UNKNOWN, kind=UNKNOWN
        )),
        ("models", ModelRow(
            id=model, source=source, row=where, name=_plain(index.title, model), organisations=(index.lab,),
            released=released, kind="language", access=access, params=UNKNOWN,
            licence=(weights.licence or UNKNOWN)[:MAX_TEXT_CHARACTERS], parents=UNKNOWN if index.parents else (),
        )),
        ("openness", OpennessRow(
            id=f"mof:{model}", source=source, row="graded from its bytes", model=model, scheme="mof",
            grade=str(each.grade.classes.present), at=day,
        )),
        ("disclosures", DisclosureRow(
            id=f"training_data:{model}", source=source, row=mof.DATASETS, model=model,
            about="training_data", answer="disclosed" if data.counts else "undisclosed", at=day,
        )),
    ]  # fmt: skip


def _plain(title: str, otherwise: str) -> str:
    """A title is its owner's text: what no row may hold becomes a space."""
    kept = "".join(letter if letter.isprintable() else " " for letter in title).strip()
    return kept or otherwise
