"""Small snapshots for tests of the observatory: rows by a few words each."""

from collections.abc import Iterable
from typing import Any

from archipel.observatory.manifest import Source
from archipel.observatory.rows import (
    UNKNOWN,
    CountRow,
    DisclosureRow,
    ModelRow,
    OpennessRow,
    OrganisationRow,
    Row,
    ScoreRow,
    StandingRow,
    WithdrawalRow,
)
from archipel.observatory.snapshot import About, Snapshot, make

SOURCE = Source(
    id="s", title="a table", url="https://x.org", retrieved="2026-01-01", hand="read", licence="CC0"
)
ABOUT = About("test", "2026-06-01", 1, (SOURCE,))
FROM: dict[str, Any] = {"source": "s", "row": "1"}


def maker(name: str, country: str = "US") -> OrganisationRow:
    return OrganisationRow(id=name, name=name, country=country, kind="company", **FROM)


def model(name: str, makers: Iterable[str] = ("a",), **changed: Any) -> ModelRow:
    known: dict[str, Any] = {
        "name": name, "organisations": tuple(makers), "released": "2025-01-01", "kind": "language",
        "access": "open", "params": UNKNOWN, "licence": UNKNOWN, "parents": UNKNOWN,
    }  # fmt: skip
    return ModelRow(id=name, **(known | changed), **FROM)


def count(
    name: str,
    value: int,
    at: str = "2026-01-31",
    first: str = "2026-01-01",
    metric: str = "downloads_all",
) -> CountRow:
    return CountRow(
        id=f"{metric}:{name}:{at}",
        model=name,
        metric=metric,
        value=value,
        at=at,
        first_at=first,
        **FROM,  # type: ignore[arg-type]
    )


def score(name: str, value: float, benchmark: str = "mmlu") -> ScoreRow:
    micro = round(value * 1e6)
    return ScoreRow(
        id=f"{benchmark}:{name}",
        benchmark=benchmark,
        model=name,
        score_micro=micro,
        at=UNKNOWN,
        by=UNKNOWN,
        **FROM,
    )


def place(name: str, rank: int, at: str = "2026-01-01") -> StandingRow:
    return StandingRow(
        id=f"arena:{at}:{name}",
        leaderboard="arena",
        model=name,
        rank=rank,
        score_micro=UNKNOWN,
        at=at,
        **FROM,
    )


def graded(name: str, grade: str) -> OpennessRow:
    return OpennessRow(
        id=f"mof:{name}", model=name, scheme="mof", grade=grade, at="2026-01-01", **FROM
    )


def told(name: str, answer: str) -> DisclosureRow:
    return DisclosureRow(
        id=f"data:{name}",
        model=name,
        about="training_data",
        answer=answer,
        at="2026-01-01",
        **FROM,  # type: ignore[arg-type]
    )


def withdrawn(subject: str, at: str) -> WithdrawalRow:
    return WithdrawalRow(
        id=f"{at}:{subject}", subject=subject, what="removed", at=at, said="so", **FROM
    )


TABLE_OF = {
    OrganisationRow: "organisations", ModelRow: "models", CountRow: "counts", ScoreRow: "scores",
    StandingRow: "standings", OpennessRow: "openness", DisclosureRow: "disclosures",
    WithdrawalRow: "withdrawals",
}  # fmt: skip


def snapshot(*rows: Row, about: About = ABOUT) -> Snapshot:
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(TABLE_OF[type(row)], []).append(row)
    return make(about, tables)
