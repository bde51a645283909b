"""`archipel audits`: which answers were audited, what was found, what followed; from the ledger, believed to nobody."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import printable, show
from archipel.cli.lab_door import JSON
from archipel.cli.ledger_place import checked_ledger, ledger_options
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.lab.cases import Case
    from archipel.lab.state import LabState, Run

MAX_SHOWN = 20


@click.command()
@click.argument("run", required=False)
@ledger_options
@JSON
def command(
    run: str | None,
    url: str | None,
    home: Path | None,
    ledger: str | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """Audits of a lab's runs, or of RUN: open cases, and the newest verdicts with their reasons.

    All of it follows from the ledger, which is read, checked and folded here: which answers were drawn, who
    looked, what was found, which versions had learned from a bad answer, what was paid back.

    \b
    Examples:
      archipel audits
      archipel audits my-run --lab http://lab.example:8440
      archipel audits --ledger mirror --json
    """
    from archipel.cli.doors import Mendable
    from archipel.lab.audit_views import case_facts, cases_of, counts_of

    checked = checked_ledger(url, home, ledger, expect)
    state = checked.found.state
    if run is not None and run not in state.runs:
        raise Mendable(f"this ledger opens no run {run!r:.80}; it has {sorted(state.runs)[:8]}")
    runs = [state.runs[run]] if run is not None else sorted(state.runs.values(), key=_entry)
    shown = [each for each in runs if each.opened.pace.audit is not None]
    facts = {
        "lab": checked.did,
        "entries": state.size,
        "runs": {each.name: counts_of(each) for each in shown},
        "cases": [case_facts(each, case) for each in shown for case in cases_of(each)],
    }
    show(facts, as_json, lambda: printable("\n".join(_lines(state, shown, run))))


def _entry(run: "Run") -> int:
    return run.entry


def _lines(state: "LabState", runs: "list[Run]", name: str | None) -> Iterator[str]:
    from archipel.lab.audit_views import cases_of, counts_of
    from archipel.lab.cases import sentence

    yield f"lab {state.lab}, by {counted(state.size, 'entry', 'entries')}"
    if not runs:
        yield f"run {name} is not audited" if name else "no run of this lab is audited"
        yield "others can look at an answer where a run is exact, or names its engine and cites a calibration"
    for run in runs:
        found, cases = counts_of(run), cases_of(run)
        told = ", ".join(f"{count} {what}" for what, count in found["outcomes"].items() if count)
        waiting = f", {found['unseen']} passed as too many waited" if found["unseen"] else ""
        yield (
            f"run {run.name}: {counted(found['drawn'], 'answer')} drawn, {found['passed']} not, {found['waiting']} "
            f"wait for their draw{waiting}"
        )
        yield (
            f"  verdicts: {told or 'none yet'}; {found['open']} open; "
            f"{counted(found['positions_recomputed'], 'token')} recomputed"
        )
        for case in [case for case in cases if _is_told(case)][-MAX_SHOWN:]:
            yield f"  {sentence(case)}"
            yield from (f"    {words}" for words in _aftermath(run, case))


def _is_told(case: "Case") -> bool:
    """All but answers that were found right: of these the number is enough."""
    from archipel.lab.cases import Outcome

    known = case.verdict
    return known is None or bool(case.planted) or known.outcome is not Outcome.VERIFIED


def _aftermath(run: "Run", case: "Case") -> Iterator[str]:
    """What followed from a verdict, and how far an open case is."""
    verdict = case.verdict
    if verdict is None:
        yield from [f"in somebody's hands: {case.holder}"] if case.holder is not None else []
    else:
        taken = sum(micro for _, micro in verdict.taken)
        words = f"{(verdict.at_ms - case.answer.at_ms) / 1000:.1f} s after the answer"
        words += f"; {taken / 1e6:.6g} credits taken back" if taken else ""
        yield words + ("; final" if verdict.is_final else "")
    yield from [f"contested: {case.contested}"] if case.contested else []
    yield from (f"look for yourself: {words}" for words in looks(run, case))


def looks(run: "Run", case: "Case") -> Iterator[str]:
    """The command that recomputes the audited answer; none where it was measured, as no two machines give it again."""
    if run.opened.pace.exact is not None:
        yield f"archipel exact replay {case.work}"
