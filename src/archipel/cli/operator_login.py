"""`archipel operator login`: vouch for a browser, and sign here what is clicked there."""

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LAB, Mendable, printable
from archipel.cli.keys import load_key
from archipel.cli.lab_door import JSON
from archipel.cli.operator_pause import KEY, key_path

if TYPE_CHECKING:
    from archipel.node.login import Terminal
    from archipel.records.login import Wish

ACTS = {
    "pause": "give no work to",
    "resume": "give work again to",
    "retire": "take back for good that this operator vouches for",
}
DONE = {"pause": "is paused", "resume": "may work again", "retire": "is retired"}
MAX_AWAY_S = 600.0
"""A lab that does not answer for so long is given up."""
AGAIN_S = 2.0


@click.command()
@KEY
@click.option("--once", is_flag=True, help="Log in and end; the page then shows commands to type.")
@click.option("--no-browser", is_flag=True, help="Only print the link.")
@click.option("--yes", "is_sure", is_flag=True, help="Retire nodes without asking here.")
@LAB
@JSON
def login(
    key: Path | None, once: bool, no_browser: bool, is_sure: bool, lab_url: str, as_json: bool
) -> None:
    """Open the lab's pages as this operator: own machines, earnings, disputes. The key stays here.

    The link is good once, for a minute. What is clicked there is shown here and signed here: pausing and resuming
    a node at once, retiring one after a y. Ctrl-C ends the browser's session.

    \b
    Examples:
      archipel operator login --lab http://lab.example:8440
      archipel operator login --key ~/.archipel/node/node.key --once
    """
    from archipel.node.login import Terminal

    own = load_key(key_path(key))
    with asyncio.Runner() as runner:
        terminal = Terminal(lab_url, own)
        try:
            _asked(runner, terminal.log_in())
            _show_link(terminal, as_json, no_browser)
            if not once:
                _attend(runner, terminal, is_sure, as_json)
        finally:
            runner.run(terminal.close())


def _asked(runner: asyncio.Runner, question: Any) -> Any:
    from archipel.node.exchange import LabRefused, LabUnreachable

    try:
        return runner.run(question)
    except LabUnreachable as error:
        raise Mendable(f"no answer from the lab: {error}; is it running? (--lab URL)") from None
    except LabRefused as error:
        raise Mendable(f"the lab refused: {error}") from None


def _show_link(terminal: "Terminal", as_json: bool, no_browser: bool) -> None:
    link = terminal.link()
    if as_json:
        _told({"lab": terminal.lab, "by": terminal.identity.did, "link": link})
    else:
        click.echo(
            f"logged in at lab {terminal.lab} as {terminal.identity.did}; open within a minute:"
        )
        click.echo(f"  {link}")
    if not no_browser and sys.stdout.isatty():
        import webbrowser

        webbrowser.open(link)


def _attend(runner: asyncio.Runner, terminal: "Terminal", is_sure: bool, as_json: bool) -> None:
    """Until Ctrl-C, or until the browser logs out."""
    from archipel.node.exchange import LabRefused, LabUnreachable
    from archipel.records.login import MAX_OUTCOME_CHARACTERS, Outcome

    if not as_json:
        click.echo("clicks are shown and signed here; Ctrl-C logs the browser out")
    outcomes: tuple[Outcome, ...] = ()
    try:
        while (found := _next(runner, terminal, outcomes)) is not None:
            outcomes = ()
            for wish in found:
                said = _carried_out(runner, terminal, wish, is_sure, as_json)
                outcomes += (Outcome(number=wish.number, said=said[:MAX_OUTCOME_CHARACTERS]),)
        click.echo("the session is over", err=True)
    except (KeyboardInterrupt, click.Abort):
        with contextlib.suppress(LabRefused, LabUnreachable):
            runner.run(terminal.end())
        click.echo("\nthe browser is logged out", err=True)


def _next(runner: asyncio.Runner, terminal: "Terminal", outcomes: Any) -> "tuple[Wish, ...] | None":
    """The next clicks; None: the session has ended. A lab that is away for a while is borne."""
    from archipel.node.exchange import LabRefused, LabUnreachable
    from archipel.node.login import OVER

    since_s = time.monotonic()
    while True:
        try:
            return runner.run(terminal.wishes(outcomes))
        except LabRefused as error:
            if error.status == OVER:
                return None
            raise Mendable(f"the lab refused: {error}") from None
        except LabUnreachable as error:
            if time.monotonic() - since_s > MAX_AWAY_S:
                raise Mendable(f"no lab for {MAX_AWAY_S:.0f} s: {error}") from None
            click.echo(f"no answer from the lab ({error}); trying again", err=True)
            time.sleep(AGAIN_S)


def _carried_out(
    runner: asyncio.Runner, terminal: "Terminal", wish: "Wish", is_sure: bool, as_json: bool
) -> str:
    """Show it, sign it or not, and say what came of it."""
    from archipel.node.exchange import LabRefused, LabUnreachable

    click.echo(f"clicked: {ACTS[wish.act]} {wish.node}", err=as_json)
    asks = wish.act == "retire" and not is_sure
    if asks and not click.confirm("retire it? this cannot be undone", err=as_json):
        said = f"{wish.node} was not retired: no was said at the terminal"
        return _said(wish, said, as_json)
    try:
        index = runner.run(terminal.sign_wish(wish)).index
    except (LabRefused, LabUnreachable) as error:
        return _said(wish, f"{wish.act} of {wish.node} failed: {error}", as_json)
    return _said(wish, f"{wish.node} {DONE[wish.act]}, entry {index}", as_json, index)


def _said(wish: "Wish", said: str, as_json: bool, index: int | None = None) -> str:
    if as_json:
        _told({"act": wish.act, "node": wish.node, "entry": index, "said": said})
    else:
        click.echo(printable(said))
    return said


def _told(value: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps(value))
    sys.stdout.flush()
