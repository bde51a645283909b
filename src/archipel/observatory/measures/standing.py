"""Standing: how many of a leaderboard's first N are open, whose they are, and whose labs are ahead.

Law: of a leaderboard the newest day counts; open means weights that anybody may fetch, under free or restricted terms.
"""

from collections import Counter
from typing import Final

from archipel.observatory.measures.measure import (
    Asked,
    Definition,
    Found,
    Line,
    country_of,
    lacking,
    maker_of,
    named,
    one_of,
)
from archipel.observatory.rows import UNKNOWN, StandingRow
from archipel.observatory.snapshot import Snapshot
from archipel.plurals import counted

OPEN: Final = ("open", "restricted")
_FLAWS: Final = (
    "A leaderboard counts the models that its owners chose to list; variants of one model take several places.",
    "Open weights are counted, whatever their licence allows and whatever is said of data and method.",
    "A country is that of the organisation's seat.",
)
TOP_OPEN: Final = Definition(
    "top_open/1",
    "Open models among a leaderboard's first N",
    "Of the newest day of the leaderboard, the N models of the best ranks (by score, where no rank is given): how many "
    "have open or restricted weights; lines by country. A model whose access is unknown is not counted as open.",
    "models",
    ("leaderboard", "top"),
    _FLAWS,
)
LABS: Final = Definition(
    "labs/1",
    "Labs that release open models, per country",
    "Organisations with at least one language or multimodal model in the snapshot whose weights are open or "
    "restricted, released by its day, counted by country; the figure is that of the asked country.",
    "labs",
    ("country",),
    ("Labs of which the snapshot has no model are not counted: it is a lower bound.", *_FLAWS[1:]),
)
AHEAD: Final = Definition(
    "labs_ahead/1",
    "Labs elsewhere at or beyond a country's best open model",
    "On the newest day of the leaderboard: organisations of other countries that have an open model at least as high "
    "as the best open model of the asked country, counted by country; the figure is the largest count.",
    "labs",
    ("leaderboard", "country"),
    _FLAWS,
)


def top_open(snapshot: Snapshot, asked: Asked) -> Found:
    """`top_open/1`."""
    places = board(snapshot, asked.leaderboard)
    if not places:
        return lacking("no leaderboard in this snapshot")
    first = places[: asked.top]
    if len(first) < asked.top:
        return lacking(
            f"{first[0].leaderboard} of {first[0].at} has {len(first)} places here, of {asked.top}"
        )
    models = [snapshot.models[row.model] for row in first]
    is_open = [row for row, model in zip(first, models, strict=True) if model.access in OPEN]
    strange = sum(model.access == UNKNOWN for model in models)
    by_country: dict[str, list[StandingRow]] = {}
    for row in is_open:
        by_country.setdefault(country_of(snapshot, snapshot.models[row.model]), []).append(row)
    lines = tuple(
        Line(
            country,
            float(len(rows)),
            ", ".join(snapshot.models[row.model].name for row in rows),
            (*named("standings", *rows), *(f"models:{row.model}" for row in rows)),
        )
        for country, rows in sorted(by_country.items(), key=lambda item: (-len(item[1]), item[0]))
    )
    return Found(
        float(len(is_open)),
        f"{len(is_open)} of the first {asked.top} on {first[0].leaderboard}, {first[0].at}",
        lines,
        named("standings", *first),
        (f"{strange} of unknown access",) if strange else (),
    )


def labs(snapshot: Snapshot, asked: Asked) -> Found:
    """`labs/1`."""
    found: dict[str, dict[str, list[str]]] = {}
    for model in snapshot.models.values():
        if model.access not in OPEN or model.kind not in ("language", "multimodal"):
            continue
        if model.released != UNKNOWN and model.released > snapshot.manifest.day:
            continue
        for maker in model.organisations:
            country = snapshot.organisations[maker].country
            found.setdefault(country, {}).setdefault(maker, []).append(f"models:{model.id}")
    if not found:
        return lacking("no open models with a known maker in this snapshot")
    lines = tuple(
        Line(
            country,
            float(len(makers)),
            ", ".join(sorted(snapshot.organisations[each].name for each in makers))[:400],
            (
                *(f"organisations:{each}" for each in makers),
                *(r for m in makers.values() for r in m),
            ),
        )
        for country, makers in sorted(
            found.items(), key=lambda item: (item[0] == UNKNOWN, -len(item[1]), item[0])
        )
    )
    count = len(found.get(asked.country, {}))
    return Found(float(count), f"{count} of {asked.country}", lines)


def labs_ahead(snapshot: Snapshot, asked: Asked) -> Found:
    """`labs_ahead/1`."""
    places = board(snapshot, asked.leaderboard)
    is_open = [row for row in places if snapshot.models[row.model].access in OPEN]
    home = [row for row in is_open if _of(snapshot, row) == asked.country]
    if not home:
        return lacking(f"no open model of {asked.country} on a leaderboard of this snapshot")
    best = min(places.index(row) for row in home)
    ahead = [row for row in is_open if places.index(row) < best or _key(row) == _key(places[best])]
    labs_of: dict[str, dict[str, str]] = {}
    for row in ahead:
        country, model = _of(snapshot, row), snapshot.models[row.model]
        if country != asked.country:
            labs_of.setdefault(country, {}).setdefault(maker_of(snapshot, model), row.id)
    lines = tuple(
        Line(
            country,
            float(len(makers)),
            ", ".join(makers),
            tuple(f"standings:{each}" for each in makers.values()),
        )
        for country, makers in sorted(labs_of.items(), key=lambda item: -len(item[1]))
    )
    name = snapshot.models[places[best].model].name
    most = max(
        (len(makers) for country, makers in labs_of.items() if country != UNKNOWN), default=0
    )
    says = f"{counted(most, 'lab')} of one country at or beyond {name}, on {places[best].leaderboard}, {places[best].at}"
    return Found(float(most), says, lines, named("standings", places[best]))


def board(snapshot: Snapshot, leaderboard: str) -> list[StandingRow]:
    """The newest day of a leaderboard, best first.

    Raises:
        CannotAsk: there is none of this name.
    """
    sizes = Counter(row.leaderboard for row in snapshot.standings)
    wanted = leaderboard or next((name for name, _ in sizes.most_common(1)), "")
    name = one_of(wanted, sizes, "leaderboard")
    rows = [row for row in snapshot.standings if row.leaderboard == name]
    day = max((row.at for row in rows), default="")
    return sorted((row for row in rows if row.at == day), key=_key)


def _key(row: StandingRow) -> tuple[float, float]:
    rank = float(row.rank) if row.rank != UNKNOWN else float("inf")
    score = float(row.score_micro) if row.score_micro != UNKNOWN else float("-inf")
    return rank, -score


def _of(snapshot: Snapshot, row: StandingRow) -> str:
    return country_of(snapshot, snapshot.models[row.model])
