"""Known labs in words and as documents for machines."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archipel.cli.doors import printable
from archipel.cli.lab_card import moment
from archipel.cli.labs_live import prices
from archipel.directory.viewed import name_of, viewed
from archipel.market.amounts import MICRO

if TYPE_CHECKING:
    from archipel.cli.labs_live import Live, LiveRun
    from archipel.directory.known import KnownLab

TITLES = ("lab", "address", "reachable", "runs", "openness", "prices", "witnesses", "known since")
UNKNOWN = "-"
WIDEST = 44
"""Characters of a cell."""
Openness = Mapping[str, Sequence[tuple[str, str]]]
"""Lab -> classes of its newest release at hand, by scheme."""


def document(
    did: str, known: "KnownLab", live: "Live | None", openness: Openness
) -> dict[str, Any]:
    """One lab for machines: what its card says, what it answered, what was computed here."""
    told = {"card": viewed(known).model_dump(mode="json"), "openness": dict(openness.get(did, ()))}
    if live is None:
        return {"lab": did, **told, "live": None}
    named = {each.key for each in known.card.said.witnesses}
    return {
        "lab": did,
        **told,
        "live": {
            "reachable": live.is_reached,
            "problem": live.problem,
            "software": live.software,
            "entries": None if live.head is None else live.head.size,
            "is_newest_head": live.is_newest,
            "witnesses": [
                {"key": key, "entries": size, "at_s": at_s, "is_named": key in named}
                for key, (size, at_s) in sorted(live.witnesses.items())
            ],
            "runs": live.num_runs,
            "open_runs": [_run(each) for each in live.runs],
            "prices": [
                {"run": run, "micro_per_million_tokens": million, "micro_per_lot_hour": hour}
                for run, million, hour in prices(live.runs)
            ],
        },
    }


def _run(run: "LiveRun") -> dict[str, Any]:
    view = run.view
    return {
        "run": view.run,
        "kind": view.programme,
        "phase": view.phase,
        "version": view.version,
        "versions": view.versions,
        "model": run.model,
        "adapter": view.adapter,
    }


def table(
    labs: Mapping[str, "KnownLab"], live: Mapping[str, "Live"], openness: Openness
) -> Iterator[str]:
    """A row a lab, columns as wide as what is in them."""
    rows = [TITLES, *(_row(did, labs[did], live.get(did), openness) for did in labs)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(TITLES))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for did, known in labs.items():
        if known.is_contradicted:
            yield f"{did} signed two cards under number {known.card.said.number} that say different things"
        found = live.get(did)
        if found is not None and found.problem:
            yield printable(f"{did}: {found.problem}")


def _row(did: str, known: "KnownLab", live: "Live | None", openness: Openness) -> tuple[str, ...]:
    said = known.card.said
    grades = ", ".join(grade for _, grade in openness.get(did, ()))
    cells = (
        f"…{did[-8:]}",
        said.addresses[0] if said.addresses else UNKNOWN,
        _reachable(known, live),
        UNKNOWN if live is None or not live.is_reached else _runs(live),
        grades or UNKNOWN,
        UNKNOWN if live is None else _prices(live),
        _witnesses(known, live),
        moment(known.since_ms),
    )
    return tuple(_cut(each) for each in cells)


def _reachable(known: "KnownLab", live: "Live | None") -> str:
    if live is not None:
        return "yes" if live.is_reached else "no"
    return UNKNOWN if known.reached_ms is None else f"was at {moment(known.reached_ms)}"


def _runs(live: "Live") -> str:
    if not live.runs:
        return f"none open of {live.num_runs}"
    return ", ".join(
        f"{each.view.run} ({each.view.programme}{'' if each.model is None else f', {each.model}'})"
        for each in live.runs
    )


def _prices(live: "Live") -> str:
    found = [
        f"{million / MICRO:.6g}/M tokens, {hour / MICRO:.4g}/lot hour"
        for _, million, hour in prices(live.runs)
    ]
    return "; ".join(found) or UNKNOWN


def _witnesses(known: "KnownLab", live: "Live | None") -> str:
    if live is None:
        seen = dict(viewed(known).witnessed)
    else:
        seen = {name_of(key): at_s for key, (_, at_s) in live.witnesses.items()}
    return (
        ", ".join(f"{name} at {moment(at_s * 1000)}" for name, at_s in sorted(seen.items()))
        or "none"
    )


def _cut(text: str) -> str:
    plain = printable(text).replace("\n", "?")
    return plain if len(plain) <= WIDEST else plain[: WIDEST - 1] + "…"
