"""`archipel ledger`: replay and verify a lab's ledger."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import KeyName, LabUrl, Mendable, home_folder, mending, show

if TYPE_CHECKING:
    from archipel.lab.recovery import Replayed

HEAD_FILE = "ledger.head"
"""Beside the ledger, or in the lab's home: the newest head outside the database."""
PROGRESS_INTERVAL_S = 2.0


@click.group()
def command() -> None:
    """Replay and verify a lab's ledger."""


@command.command()
@click.option(
    "--lab",
    "url",
    metavar="URL",
    type=LabUrl(),
    help="A lab that runs: fetch its ledger over HTTP.",
)
@click.option("--ledger", metavar="URL", help="A copy: a file or postgresql://...")
@click.option("--home", type=click.Path(path_type=Path), help="The lab's folder [~/.archipel/lab].")
@click.option("--expect", metavar="DID", type=KeyName(), help="Refuse the ledger of any other lab.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def replay(
    url: str | None, ledger: str | None, home: Path | None, expect: str | None, as_json: bool
) -> None:
    """Recompute everything from the entries: tree heads, signatures, runs, balances.

    Shown: every entry is signed by its author, in the order the lab's tree heads cover, and adds up to
    these balances. Not shown: that the lab showed everybody this same ledger. No key is needed.

    \b
    Examples:
      archipel ledger replay
      archipel ledger replay --lab https://lab.example --expect did:key:z6Mk...
      archipel ledger replay --ledger copy/ledger.sqlite --json
    """
    from archipel.identity import IdentityError
    from archipel.ledger.storage import LedgerError

    if url is not None and (ledger is not None or home is not None):
        raise click.UsageError("--lab reads over HTTP; give it without --ledger and --home")
    with mending(IdentityError, LedgerError, OSError, ValueError):
        if url is not None:
            did, size, heads, found = _replay_remote(url, expect)
        else:
            did, size, heads, found = stored_state(ledger, home, expect)
    state = found.state
    versions = {name: run.version for name, run in state.runs.items()}
    result = {
        "lab": did,
        "entries": size,
        "tree_heads": heads,
        "snapshots_compared": found.compared,
        "snapshots_of_other_formats": found.passed_over,
        "runs": versions,
        "balances_micro": dict(state.book),
        "sum_micro": sum(state.book.values()),
    }

    def text() -> str:
        lines = [f"ledger of {did}", f"{size} entries under {heads} signed tree heads: all hold"]
        lines += [f"{found.compared} snapshots of the state were compared: all hold"]
        if found.passed_over:
            lines += [f"{found.passed_over} snapshots of another release were not compared"]
        lines += [f"run {name}: version {version}" for name, version in versions.items()]
        lines += [f"{did}  {micro / 1e6:+.6f} credits" for did, micro in sorted(state.book.items())]
        return "\n".join([*lines, f"balances add up to {result['sum_micro']} micro-credits"])

    show(result, as_json, text)


def _replay_remote(url: str, expect: str | None) -> "tuple[str, int, int, Replayed]":
    from archipel.cli.ledger_reader import LedgerReader
    from archipel.ledger.verification import entries_under

    with LedgerReader(url) as lab:
        did = _expected(lab.did(), expect)
        head = lab.head(did)
        entries = entries_under(head, lab.entries(head.size))
        return did, head.size, 1, _fold(did, head.size, entries)


def stored_state(
    ledger: str | None, home: Path | None, expect: str | None
) -> "tuple[str, int, int, Replayed]":
    """(lab, entries, tree heads, state) of a ledger on disk or in a database, all of it checked."""
    from archipel.ledger.location import read_first_entry, read_log
    from archipel.ledger.verification import lab_key

    head_file = None
    if ledger is None or home is not None:
        head_file = home_folder("lab", home, make=False) / HEAD_FILE
    elif "://" not in ledger and (Path(ledger).parent / HEAD_FILE).exists():
        head_file = Path(ledger).parent / HEAD_FILE
    place = ledger or home_folder("lab", home, make=False) / "ledger.sqlite"
    did = _expected(_opened_by(read_first_entry(place)), expect)
    log = read_log(place, lab_key(did), head_file)
    try:
        heads = log.verify()
        return did, log.size, heads, _fold(did, log.size, log.entries())
    finally:
        log.close()


def _opened_by(entry: bytes) -> str:
    """The lab whose ledger begins with this entry."""
    from archipel.lab.entry import read_entry
    from archipel.records.statements import LabOpened

    statement = read_entry(entry).statement
    if not isinstance(statement, LabOpened):
        raise Mendable(f"entry 0 is {statement.kind}, expected lab.opened: this is no lab's ledger")
    return statement.author


def _expected(did: str, expect: str | None) -> str:
    if expect is not None and did != expect:
        raise Mendable(f"this is the ledger of {did}; expected {expect}")
    return did


def _fold(did: str, size: int, entries: Iterable[bytes]) -> "Replayed":
    """What the entries amount to; the first must be the lab's own opening."""
    from archipel.lab.apply import Contradiction
    from archipel.lab.recovery import replayed

    told = _told(size, entries)
    first = next(told, None)
    if first is None:
        raise Mendable("this ledger has no entries yet")
    if _opened_by(first) != did:
        raise Mendable(f"entry 0 opens the ledger of another lab than {did}")
    try:
        return replayed(did, chain([first], told))
    except Contradiction as error:
        raise Mendable(
            f"these entries are signed, but do not follow from one another: {error}; "
            "no lab of this release wrote them"
        ) from None


def _told(size: int, entries: Iterable[bytes]) -> Iterator[bytes]:
    """The same entries; says how far it is when that takes long."""
    import time

    next_word = time.monotonic() + PROGRESS_INTERVAL_S
    for number, entry in enumerate(entries):
        if time.monotonic() > next_word:
            click.echo(f"{number} of {size} entries", err=True)
            next_word += PROGRESS_INTERVAL_S
        yield entry
