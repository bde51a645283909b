"""`archipel ledger`: replay and verify a lab's ledger."""

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from archipel.cli.doors import LabUrl, Mendable, home_folder, mending, show
from archipel.cli.helping import Group
from archipel.cli.lab_door import EXPECT, HEAD
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.cli.heads import EarlierHead
    from archipel.lab.entry import Entry
    from archipel.lab.recovery import Replayed
    from archipel.ledger.tree_head import TreeHead

HEAD_FILE = "ledger.head"
"""Beside the ledger, or in the lab's home: the newest head outside the database."""
LEDGER_FILE = "ledger.sqlite"
PROGRESS_INTERVAL_S = 2.0


Seen = Callable[["Entry"], None]


class Checked(NamedTuple):
    """A ledger of which everything holds."""

    did: str
    head: "TreeHead"
    heads: int
    """Signed heads that were confirmed, this one included."""
    found: "Replayed"


@click.group(cls=Group)
def command() -> None:
    """Replay and verify a lab's ledger."""


@command.command()
@click.argument("file", required=False)
@click.option(
    "--lab",
    "url",
    metavar="URL",
    type=LabUrl(),
    help="A lab that runs: fetch its ledger over HTTP.",
)
@click.option("--ledger", metavar="URL", help="The same as FILE.")
@click.option("--home", type=click.Path(path_type=Path), help="The lab's folder [~/.archipel/lab].")
@EXPECT
@HEAD
@click.option(
    "--save-head",
    "kept_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Keep the newest head here, for next time; one that is there already is compared first.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def replay(
    file: str | None,
    url: str | None,
    ledger: str | None,
    home: Path | None,
    expect: str | None,
    head_path: Path | None,
    kept_path: Path | None,
    as_json: bool,
) -> None:
    """Recompute everything from the entries of a lab, or of a copy: a lab's folder, a file or postgresql://...

    Shown: every entry is signed by its author, in the order the lab's tree heads cover, and adds up to
    these balances. Two people who see the same size and root have seen the same entries. Not shown,
    unless their heads are compared: that the lab showed everybody this same ledger, and that a copy
    is the newest. No key is needed.

    \b
    Examples:
      archipel ledger replay
      archipel ledger replay --lab https://lab.example --expect did:key:z6Mk...
      archipel ledger replay --lab https://lab.example --save-head lab.head
      archipel ledger replay copy/ledger.sqlite --head lab.head --json
    """
    from archipel.cli.heads import save_head

    ledger = _one_place(file, ledger, url, home)
    earlier = [
        path for path in (head_path, kept_path) if path and (path == head_path or path.exists())
    ]
    checked = read_ledger(url, ledger, home, expect, earlier)
    if kept_path is not None:
        with mending(OSError):
            save_head(kept_path, checked.head)
    show(_facts(checked, earlier), as_json, lambda: "\n".join(_lines(checked, earlier)))


def _one_place(
    file: str | None, ledger: str | None, url: str | None, home: Path | None
) -> str | None:
    if file is not None and ledger is not None:
        raise click.UsageError("FILE and --ledger are the same; give one of them")
    ledger = file or ledger
    if url is not None and (ledger is not None or home is not None):
        raise click.UsageError("--lab reads over HTTP; give it without a file and --home")
    return ledger


def _facts(checked: Checked, earlier: list[Path]) -> dict[str, Any]:
    state, head = checked.found.state, checked.head
    return {
        "lab": checked.did,
        "entries": head.size,
        "root": _root(head),
        "head": head.note.decode(),
        "compared_heads": [str(path) for path in earlier],
        "tree_heads": checked.heads,
        "snapshots_compared": checked.found.compared,
        "snapshots_of_other_formats": checked.found.passed_over,
        "runs": {name: run.version for name, run in state.runs.items()},
        "balances_micro": dict(state.book),
        "sum_micro": sum(state.book.values()),
    }


def _lines(checked: Checked, earlier: list[Path]) -> Iterator[str]:
    state, head, found = checked.found.state, checked.head, checked.found
    yield f"ledger of {checked.did}"
    yield (
        f"{counted(head.size, 'entry', 'entries')} under "
        f"{counted(checked.heads, 'signed tree head')}: all hold"
    )
    yield f"root {_root(head)}"
    yield from (f"goes on from the head in {path}" for path in earlier)
    if not earlier:
        yield "no earlier head was compared: an older copy looks the same (--save-head, --head)"
    compared = counted(found.compared, "snapshot of the state was", "snapshots of the state were")
    yield f"{compared} compared: all hold"
    if found.passed_over:
        passed = counted(
            found.passed_over, "snapshot of another release was", "snapshots of others were"
        )
        yield f"{passed} not compared"
    yield from (f"run {name}: version {run.version}" for name, run in state.runs.items())
    yield from (f"{did}  {micro / 1e6:+.6f} credits" for did, micro in sorted(state.book.items()))
    yield f"balances add up to {sum(state.book.values())} micro-credits"
    yield f"head, as the lab signed it:\n{head.note.decode().rstrip()}"


def _root(head: "TreeHead") -> str:
    return base64.b64encode(head.root).decode()


def read_ledger(
    url: str | None,
    ledger: str | None,
    home: Path | None,
    expect: str | None,
    earlier: Sequence[Path] = (),
    seen: Seen = lambda entry: None,
) -> Checked:
    """The ledger of a lab that runs (`url`), or of a copy, all of it checked.

    earlier: files with heads that it must have gone on from. seen: is told every entry.

    Raises:
        Mendable: it cannot be read, or does not hold; the sentence says which.
    """
    from archipel.identity import IdentityError
    from archipel.ledger.storage import LedgerError

    with mending(IdentityError, LedgerError, OSError, ValueError):
        if url is not None:
            return _replay_remote(url, expect, earlier, seen)
        return stored_state(ledger, home, expect, earlier, seen)


def _replay_remote(url: str, expect: str | None, earlier: Sequence[Path], seen: Seen) -> Checked:
    from archipel.cli.ledger_reader import LedgerReader
    from archipel.ledger.verification import entries_under

    with LedgerReader(url) as lab:
        did = _expected(lab.did(), expect)
        known, head = _earlier_heads(earlier, did), lab.head(did)
        for each in known:
            each.check_size(head.size, f"the ledger that {url} shows")
        entries = entries_under(head, lab.entries(head.size))
        return Checked(did, head, 1, _fold(did, head.size, entries, known, seen))


def stored_state(
    ledger: str | None,
    home: Path | None,
    expect: str | None,
    earlier: Sequence[Path] = (),
    seen: Seen = lambda entry: None,
) -> Checked:
    """A ledger on disk or in a database, all of it checked; arguments as of `read_ledger`."""
    from archipel.ledger.location import read_first_entry, read_log
    from archipel.ledger.verification import lab_key

    head_file = None
    if ledger is not None and "://" not in ledger and Path(ledger).is_dir():
        ledger = str(Path(ledger) / LEDGER_FILE)
    if ledger is None or home is not None:
        head_file = home_folder("lab", home, make=False) / HEAD_FILE
    elif "://" not in ledger and (Path(ledger).parent / HEAD_FILE).exists():
        head_file = Path(ledger).parent / HEAD_FILE
    place = ledger or home_folder("lab", home, make=False) / LEDGER_FILE
    did = _expected(opened_by(read_first_entry(place)), expect)
    known = _earlier_heads(earlier, did)
    log = read_log(place, lab_key(did), head_file)
    try:
        for each in known:
            each.check_size(log.size, f"the ledger at {place}")
        heads = log.verify()
        return Checked(did, log.head, heads, _fold(did, log.size, log.entries(), known, seen))
    finally:
        log.close()


def _earlier_heads(paths: Sequence[Path], did: str) -> "list[EarlierHead]":
    from archipel.cli.heads import EarlierHead
    from archipel.ledger.verification import lab_key

    return [EarlierHead(path, lab_key(did)) for path in paths]


def opened_by(entry: bytes) -> str:
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


def _fold(
    did: str, size: int, entries: Iterable[bytes], earlier: "list[EarlierHead]", seen: Seen
) -> "Replayed":
    """What the entries amount to; the first must be the lab's own opening."""
    from archipel.lab.apply import Contradiction
    from archipel.lab.recovery import replayed

    told = _told(size, entries)
    for each in earlier:
        told = each.compared(told)
    first = next(told, None)
    if first is None:
        raise Mendable("this ledger has no entries yet")
    if opened_by(first) != did:
        raise Mendable(f"entry 0 opens the ledger of another lab than {did}")
    try:
        return replayed(did, chain([first], told), seen)
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
