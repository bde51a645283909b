"""`archipel run report`: one run as one page, from the ledger, believed to nobody."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import DEFAULT_LAB_URL, at_work, mending, printable
from archipel.cli.ledger_place import ledger_options
from archipel.cli.names import run_names
from archipel.cli.outputs import NewFile
from archipel.market.amounts import written

if TYPE_CHECKING:
    from archipel.cli.ledger_checked import Checked
    from archipel.curves.report import Told
    from archipel.lab.run_course import Course

PAGE, PNG, SVG = NewFile(".html"), NewFile(".png"), NewFile(".svg")
MAX_WORKERS, MAX_AUDITS = 500, 500


@click.command()
@click.argument("name", shell_complete=run_names)
@click.option("--out", type=PAGE, help="Write the page.")
@click.option("--png", type=PNG, help="Draw all measurements as one picture.")
@click.option("--svg", type=SVG, help="The same as SVG.")
@ledger_options
def report(name: str, out: Path | None, png: Path | None, svg: Path | None, **place: Any) -> None:
    """One run as a self-contained page: measurements, warnings, cost, who worked, audits, and the entries that prove it.

    The ledger is read, checked and folded here, so neither lab nor mirror is believed. The page has no script and
    fetches nothing.

    \b
    Examples:
      archipel run report secret-order --out report.html
      archipel run report secret-order --ledger mirror --out report.html --png curves.png
    """
    from archipel.cli.run_sources import folded
    from archipel.curves.picture import draw
    from archipel.curves.report import report as page

    if not (out or png or svg):
        raise click.UsageError("name a file: --out report.html, --png or --svg")
    given = [place["url"], place["home"], place["ledger"]]
    if sum(each is not None for each in given) > 1:
        raise click.UsageError("give one of --lab, --home and --ledger")
    is_named = place["home"] is not None or place["ledger"] is not None
    url = None if is_named else place["url"] or DEFAULT_LAB_URL
    at_work("reading the ledger")
    checked, course, phase = folded((url, place["ledger"], place["home"], place["expect"]), name)
    history = course.history()
    with mending(OSError, ValueError):
        if out is not None:
            out.write_text(page(_told(checked, course, phase)), encoding="utf-8")
        names = [each for each in history.names() if not each.endswith(("_low", "_high"))]
        for picture in (png, svg):
            if picture is not None:
                draw([history], names, picture)
    for path in (out, png, svg):
        if path is not None:
            click.echo(str(path))


def _told(checked: "Checked", course: "Course", phase: str) -> "Told":
    from archipel.curves.report import Told
    from archipel.lab.audits import audits

    run = checked.found.state.runs[course.run]
    cases = () if run.opened.pace.audit is None else audits(run).closed
    judged = [
        (case.answer.entry, case.work, case.verdict.outcome.value, printable(case.verdict.reason))
        for case in cases
        if case.verdict is not None
    ]
    return Told(
        history=course.history(),
        facts=_facts(checked, course, phase),
        workers=[(who, kind, n) for (who, kind), n in course.answers.most_common(MAX_WORKERS)],
        audits=judged[-MAX_AUDITS:],
        published=course.published,
        rated=course.rated,
        check=f"archipel run report {course.run} --ledger COPY --out report.html",
    )


def _facts(checked: "Checked", course: "Course", phase: str) -> list[tuple[str, str]]:
    from archipel.cli.run_words import clock_words, credit_words, version_words
    from archipel.lab.views import run_view

    state = checked.found.state
    run = state.runs[course.run]
    view = run_view(state, run, 0)
    versions = f"{phase}, version {version_words(run.version, view.versions)}"
    opened = f"{clock_words(run.opened_at_ms / 1000)}, entry {run.entry}, by {run.opened.author}"
    return [
        ("run", versions),
        ("programme", view.programme),
        ("recipe", view.recipe),
        ("opened", opened),
        ("trusted keys", ", ".join(run.opened.trusted)),
        ("sampled by", view.exact or view.sampled_by or "engines of the nodes' choice"),
        ("credits", credit_words(view)),
        ("paid", f"{written(run.paid_micro)} credits"),
        ("lab", checked.did),
        ("ledger", f"{checked.head.size} entries, root sha256:{checked.head.root.hex()}"),
    ]
