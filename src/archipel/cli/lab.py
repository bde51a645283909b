"""`archipel lab`: be the coordinator."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.beginning import begin
from archipel.cli.doors import KeyName, Mendable, home_folder, mending, show, until_ctrl_c
from archipel.cli.helping import Group
from archipel.cli.keys import load_key, load_or_make_key, name_of_key
from archipel.cli.lab_backup import backup, restore
from archipel.cli.lab_blobs import BLOBS, LEDGER, Stored, open_blobs, said_place, stored_options
from archipel.cli.lab_card import card
from archipel.cli.lab_directory import Asked, directory_options, gossip_of, gossiping
from archipel.cli.lab_joining import invite, joining
from archipel.cli.lab_leading import Door, Place, door_options, ending, led
from archipel.cli.lab_pages import Shown, page_options, pages
from archipel.cli.lab_status import status
from archipel.cli.lab_succeed import succeed
from archipel.cli.lab_successors import agree, name_successors
from archipel.cli.ledger_checked import HEAD_FILE
from archipel.cli.listening import publish_url
from archipel.cli.mirroring import Mirrors, mirror_options, mirrored
from archipel.cli.node_stake import vouch
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.lab.lab import Lab


@click.group(cls=Group)
def command() -> None:
    """Run a lab."""


OTHERS = (status, card, joining, invite, backup, restore, vouch, succeed, agree, name_successors)
for each in OTHERS:
    command.add_command(each)


@command.command()
@click.option(
    "--home", type=click.Path(path_type=Path), help="Keys, ledger and blobs [~/.archipel/lab]."
)
@door_options
@stored_options
@click.option(
    "--operator",
    "operators",
    multiple=True,
    metavar="DID",
    type=KeyName(),
    help="Key that may open runs, besides HOME/operator.key.",
)
@click.option(
    "--per-address",
    default=1024,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="Nodes of one network address; raise it for a cluster behind one router.",
)
@click.option(
    "--uplink-mbit",
    type=click.FloatRange(0.1, 1_000_000),
    help="Megabits a second that large blobs leave with, all together, and that nodes which serve are planned by [no "
    "limit; measured].",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    help="Structured log [HOME/log.jsonl at a terminal, else standard error].",
)
@page_options
@directory_options
@mirror_options
def start(
    home: Path | None,
    operators: tuple[str, ...],
    per_address: int,
    uplink_mbit: float | None,
    log_file: Path | None,
    door: Door,
    stored: Stored,
    shown: Shown | None,
    asked: Asked,
    mirrors: Mirrors,
) -> None:
    """Start a lab, or continue one where its ledger ends.

    Where another lab with the same key leads a ledger in PostgreSQL, this one follows, and takes its place when it ends.

    \b
    Examples:
      archipel lab start
      archipel lab start --host 0.0.0.0 --port 8440
      archipel lab start --ledger postgresql://lab@localhost/lab
      archipel lab start --host 0.0.0.0 --tls-cert lab.pem --tls-key lab.key.pem
      archipel lab start --mirror https://other.example --mirror third=https://third.example:8440
      archipel lab start --blobs "s3://bucket/lab?endpoint=https://s3.example.org"
      archipel lab start --know https://lab.example
    """
    import sys

    from archipel.identity import IdentityError
    from archipel.lab.api import make_api
    from archipel.lab.doorman import DoorLimits
    from archipel.lab.server import LabServer

    folder = home_folder("lab", home)
    log_file = log_file or (folder / "log.jsonl" if sys.stderr.isatty() else None)
    door = replace(door, when_told=begin(log_file))
    limits = DoorLimits.for_nodes(per_address)
    with mending(IdentityError, OSError):
        operator = name_of_key(folder / "operator.key", make=True)
    lab = _led(folder, stored, door, limits.connections_per_address, uplink_mbit)
    num, url = counted(lab.log.size, "entry", "entries"), door.shown
    steps = _next_steps(url, log_file, shown is not None)
    click.echo(f"lab {lab.identity.did} at {url}, ledger of {num}, home {folder}{steps}", err=True)
    publish_url(folder, url)
    gossip = gossip_of(folder, lab.identity, lab.log, asked)
    api = make_api(lab, (operator, *operators), limits, gossip, folder / Mirrors.FOLDER)
    if shown is not None:
        shown = shown._replace(gossip=gossip, blobs=stored.blobs)
    with (
        pages(api, lab, folder, stored.ledger, shown),
        gossiping(gossip),
        mirrored(mirrors, folder),
        until_ctrl_c(),
    ):
        per_address = limits.connections_per_address
        server = LabServer(api, lab, per_address, door.certificate, door.when_told)
        server.run(sockets=[door.listener])
    if lab.failure is not None:
        raise ending(lab.failure)


def _led(
    folder: Path, stored: Stored, door: Door, per_address: int, uplink_mbit: float | None
) -> "Lab":
    """The lab of this home, once it leads its ledger. Raises Mendable."""
    from archipel.blobs import BlobError
    from archipel.identity import IdentityError
    from archipel.lab.apply import Contradiction
    from archipel.lab.clock import EvenClock
    from archipel.lab.lab import Lab
    from archipel.lab.start import Start
    from archipel.ledger.storage import LedgerError

    alone = "stop it first, or give this one a folder of its own with --home"
    with (
        mending(IdentityError, LedgerError, BlobError, OSError, Contradiction),
        _only_writer(folder, stored.ledger, alone),
    ):
        identity = load_or_make_key(folder / "lab.key")
        quota = int(stored.max_store_gb * 2**30)
        store_of = partial(open_blobs, stored.blobs, folder, quota, lab=identity.did)
        place = Place(folder, stored.ledger or folder / "ledger.sqlite", store_of)
        log, warm = led(place, identity, door, per_address)
        click.get_current_context().call_on_close(log.close)  # however this ends
        at = Start(bytes_per_s(uplink_mbit), warm)
        return Lab(identity, log, place.blobs(), clock_ms=EvenClock(), start=at)


def bytes_per_s(mbit: float | None) -> int | None:
    """Of megabits a second; None: no limit."""
    return None if mbit is None else int(mbit * 125_000)


def _next_steps(url: str, log_file: Path | None, has_pages: bool) -> str:
    """Where the pages are, and what an operator does next: the latter for a screen that stays calm, not where the log goes."""
    here = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    pages = f"\npages for people: {here}/pages/" if has_pages else ""
    if log_file is None:
        return pages
    return pages + (
        f"\nlog {log_file}; Ctrl-C ends it, the same command goes on from there\n"
        f"now, in other terminals:\n"
        f"  archipel update join {here}\n"
        f"  archipel node join {here}\n"
        f"  archipel run open RECIPE --weights DIR --lab {here}\n"
        f"  archipel run watch --lab {here}"
    )


@command.command()
@click.option("--home", type=click.Path(path_type=Path), help="The lab's folder [~/.archipel/lab].")
@LEDGER
@BLOBS
@click.option(
    "--grace",
    default=3600.0,
    show_default=True,
    type=click.FloatRange(0.0),
    metavar="SECONDS",
    help="Keep what was touched since: whoever sent it may be about to name it.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go; delete nothing.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def gc(
    home: Path | None,
    ledger: str | None,
    blobs: str | None,
    grace: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete blobs that nothing in the ledger needs any more, while the lab does not run.

    A running lab does so by itself, and alone knows what is on its way to it; beside one, --dry-run says
    what the ledger does not need.

    Needed are: recipes and initial models, the versions that can still be fetched, unconsumed results
    and what the learner would replay after its newest checkpoint, reports, the newest snapshot.

    \b
    Examples:
      archipel lab gc --dry-run
      archipel lab gc --home /srv/lab
    """
    import time

    from archipel.blobs import BlobError
    from archipel.cli.ledger_checked import stored_state
    from archipel.identity import IdentityError
    from archipel.lab.parted import Parted
    from archipel.ledger.location import open_log, read_first_entry
    from archipel.ledger.storage import LedgerError
    from archipel.ledger.verification import lab_key

    folder = home_folder("lab", home, make=False)
    place = ledger or folder / "ledger.sqlite"
    alone = "it sweeps by itself; look with --dry-run beside it, or stop it first"
    with (
        mending(IdentityError, LedgerError, BlobError, OSError, ValueError),
        _only_writer(folder, ledger, alone),
    ):
        if not dry_run:
            read_first_entry(place)  # else the place would be made a ledger
            identity = load_key(folder / "lab.key")
            log = open_log(place, lab_key(identity.did).name, identity, folder / HEAD_FILE)
            click.get_current_context().call_on_close(log.close)  # until then no lab starts here
        checked = stored_state(ledger, folder, None)
        state, whose = checked.found.state, None if dry_run else checked.did
        store = open_blobs(said_place(folder, blobs), folder, ages=True, lab=whose)
        live = Parted(store).needed(state)
        before = store.used().total_bytes
        report = store.sweep(live, now_s=time.time(), older_than_s=grace, idle_s=grace, dry=dry_run)
    freed, num = report.num_bytes, report.num_whole + report.num_partial
    result = {"blobs": num, "bytes": freed, "used_bytes_before": before, "needed": len(live)}
    said = "would go" if dry_run else "are gone"
    show(
        result,
        as_json,
        lambda: f"{counted(num, 'blob')} of {counted(freed, 'byte')} {said}; {before} were in use",
    )


@contextmanager
def _only_writer(folder: Path, ledger: str | None, advice: str) -> Iterator[None]:
    """Beside a lab that runs already, say so, and what to do; an address may hold a password."""
    from archipel.ledger.storage import LedgerInUse

    try:
        yield
    except LedgerInUse:
        known = folder / "url"
        where = f" at {known.read_text('utf-8', 'replace').strip()}" if known.is_file() else ""
        what = "this database" if ledger and "://" in ledger else ledger or folder
        raise Mendable(f"a lab runs with the ledger of {what} already{where}; {advice}") from None
