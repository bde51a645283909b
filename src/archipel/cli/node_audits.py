"""`archipel node reputation | disputes | contest`: what audits showed of a node, and what its operator can do about it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import (
    DEFAULT_LAB_URL,
    KeyName,
    LabUrl,
    Mendable,
    home_folder,
    printable,
    show,
)
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.ledger_place import checked_ledger, ledger_options
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.lab.cases import Case
    from archipel.lab.state import Run

NODE = click.option(
    "--node", "did", metavar="DID", type=KeyName(), help="This node [this machine's]."
)
NODE_HOME = click.option(
    "--node-home", type=click.Path(path_type=Path), help="Where this machine's key lies [~/.archipel/node]."
)  # fmt: skip


@click.command()
@NODE
@NODE_HOME
@click.option("--all", "everybody", is_flag=True, help="Every node of the lab.")
@ledger_options
@JSON
def reputation(
    did: str | None,
    node_home: Path | None,
    everybody: bool,
    url: str | None,
    home: Path | None,
    ledger: str | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """How often a node was found right or wrong, and how likely its next answer is audited.

    Recomputed from the ledger, which anybody can do.

    \b
    Examples:
      archipel node reputation
      archipel node reputation --all --lab http://lab.example:8440
      archipel node reputation --node did:key:z6Mk... --ledger mirror --json
    """
    from archipel.cli.reputation import standing, told
    from archipel.lab.providers import seen

    wanted = None if everybody else did or _own(node_home)
    state = checked_ledger(url, home, ledger, expect).found.state
    found = (seen(state, did) for did in state.nodes)
    nodes = [node for node in found if node is not None]
    nodes.sort(key=lambda node: (-node.standing.verified, node.did))
    if wanted is not None:
        nodes = [node for node in nodes if node.did == wanted]
        if not nodes:
            raise Mendable(
                f"this ledger knows no node {wanted}; it may have been forgotten (--all)"
            )
    rows = [standing(state, node) for node in nodes]
    show({"lab": state.lab, "nodes": rows}, as_json, lambda: told(state, rows))


@click.command()
@NODE
@NODE_HOME
@ledger_options
@JSON
def disputes(
    did: str | None,
    node_home: Path | None,
    url: str | None,
    home: Path | None,
    ledger: str | None,
    expect: str | None,
    as_json: bool,
) -> None:
    """Verdicts against a node and audits of its answers that are open, with the reason and what can be done.

    \b
    Examples:
      archipel node disputes
      archipel node disputes --node did:key:z6Mk... --lab http://lab.example:8440 --json
    """
    from archipel.lab.audit_views import case_facts
    from archipel.lab.audits import of_party
    from archipel.lab.providers import keys_of

    node = did or _own(node_home)
    state = checked_ledger(url, home, ledger, expect).found.state
    audited = [run for run in state.runs.values() if run.opened.pace.audit is not None]
    found = [
        (run, case)
        for run in audited
        for key in keys_of(state, node)
        for case in of_party(run, key)
        if _is_disputed(case)
    ]
    facts = [case_facts(run, case) | {"until_ms": _until_ms(run, case)} for run, case in found]
    show(
        {"lab": state.lab, "node": node, "disputes": facts},
        as_json,
        lambda: printable("\n".join(_dispute_lines(node, found))),
    )


def _is_disputed(case: "Case") -> bool:
    from archipel.lab.cases import Outcome

    return case.verdict is None or case.verdict.outcome in (Outcome.SOFT, Outcome.HARD)


def _until_ms(run: "Run", case: "Case") -> int | None:
    """Until when it may be contested; None: not, or no more."""
    terms = run.opened.pace.audit
    if terms is None or case.verdict is None or case.verdict.is_final:
        return None
    return case.verdict.at_ms + terms.window_ms


def _dispute_lines(node: str, found: "list[tuple[Run, Case]]") -> Iterator[str]:
    from archipel.cli.audits import looks
    from archipel.cli.run_words import clock_words
    from archipel.lab.cases import sentence

    yield f"{node}: {counted(len(found), 'dispute')}"
    for run, case in found:
        yield sentence(case)
        until_ms = _until_ms(run, case)
        if case.contested:
            yield f"  contested: {case.contested}"
        if until_ms is not None:
            yield f"  until {clock_words(until_ms / 1000)}: archipel node contest {case.work} --reason TEXT"
        elif case.verdict is not None:
            yield "  final: the trusted role has decided"
        yield from (f"  check it yourself: {words}" for words in looks(run, case))


@click.command()
@click.argument("work")
@click.option("--reason", required=True, help="What you say to it; everybody can read it.")
@click.option(
    "--lab",
    "url",
    metavar="URL",
    type=LabUrl(),
    default=DEFAULT_LAB_URL,
    show_default=True,
    help="The lab.",
)
@NODE_HOME
@JSON
def contest(work: str, reason: str, url: str, node_home: Path | None, as_json: bool) -> None:
    """Contest the verdict on WORK: the trusted role looks at it again and has the last word.

    If it finds the answer right, pay comes back, the quarantine ends, and the auditors lose what you lost.

    \b
    Example:
      archipel node contest my-run.17 --reason "recomputed here, equal"
    """
    index = ask_lab(_contest(work, reason, url, home_folder("node", node_home, make=False)))
    told = f"{work} is contested, entry {index}; archipel node disputes shows what comes of it"
    show({"work": work, "entry": index}, as_json, lambda: told)


async def _contest(work: str, reason: str, url: str, folder: Path) -> int:
    from archipel.cli.keys import load_key
    from archipel.node.client import LabClient
    from archipel.records.audits import VerdictContested

    async with LabClient(url, load_key(folder / "node.key")) as lab:
        await lab.greet()
        run = work.rpartition(".")[0]
        receipt = await lab.submit(VerdictContested, run=run, work=work, reason=reason)
    return receipt.index


def _own(node_home: Path | None) -> str:
    from archipel.cli.keys import name_of_key

    key = home_folder("node", node_home, make=False) / "node.key"
    if not key.exists():
        raise click.ClickException(
            f"no node has worked from here: {key} is not there; give --node DID, or --node-home PATH"
        )
    return name_of_key(key)
