"""A leaderboard's table, as arenas give it out: model, rank or score, maker, licence.

Law: "Proprietary" closes a model; any other licence is kept as text and says nothing of access here.
"""

import functools
from collections.abc import Callable
from typing import BinaryIO, Final

from archipel.observatory.importers.cells import BadCell, micro, whole
from archipel.observatory.importers.lines import BadTable, Column, Line, plain_name, read_table
from archipel.observatory.importers.taking import Taking
from archipel.observatory.rows import UNKNOWN

COLUMNS: Final = {
    "model": Column(("Model", "Model name", "key", "Name"), is_needed=True),
    "rank": Column(("Rank", "Rank* (UB)", "Rank (UB)")),
    "score": Column(("Score", "Arena Score", "Arena Elo rating", "Rating", "Elo")),
    "organisation": Column(("Organization", "Organisation", "Developer")),
    "licence": Column(("License", "Licence")),
}


def taking_of(leaderboard: str) -> Callable[[BinaryIO, Taking], None]:
    """An importer of the table of the leaderboard of that word."""
    return functools.partial(_take, leaderboard)


def _take(leaderboard: str, file: BinaryIO, taking: Taking) -> None:
    table = read_table(file, COLUMNS)
    taking.unused = table.unused
    names = {plain_name(each) for each in table.header}
    if not names & {plain_name(each) for key in ("rank", "score") for each in COLUMNS[key].names}:
        raise BadTable(
            f"no column for the rank nor one for the score in {', '.join(table.header):.300}"
        )
    for line in table.lines:
        taking.counted["lines"] += 1
        place = f"line {line.number}"
        try:
            _take_line(line, place, leaderboard, taking)
        except BadCell as error:
            taking.refuse(place, str(error))


def _take_line(line: Line, place: str, leaderboard: str, taking: Taking) -> None:
    if line.why_not:
        raise BadCell(line.why_not)
    rank, score = line.get("rank"), line.get("score")
    standing = {
        "rank": whole(rank) if rank else UNKNOWN,
        "score_micro": micro(score) if score else UNKNOWN,
    }
    if not rank and not score:
        raise BadCell("neither rank nor score")
    maker, licence = line.get("organisation"), line.get("licence")
    maker_id = taking.organisation(maker, place) if maker else None
    model = taking.model(
        line.get("model"),
        place,
        organisations=() if maker_id is None else (maker_id,),
        licence=licence[:300] or UNKNOWN,
        access="closed" if licence.lower() == "proprietary" else UNKNOWN,
    )
    if model is not None:
        taking.about(
            "standings",
            leaderboard,
            model,
            place,
            leaderboard=leaderboard,
            at=taking.day,
            **standing,
        )
