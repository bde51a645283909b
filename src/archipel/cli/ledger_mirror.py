"""`archipel ledger mirror`: a lab's ledger as a folder of plain files, kept up to date."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, at_work, mending, show
from archipel.cli.lab_door import EXPECT, JSON, bounded_fetch
from archipel.cli.mirror_whole import Whole, mirror_whole
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.ledger.mirror import Mirror

MAX_WITNESSES = 16


@click.command()
@click.argument("url", metavar="URL")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@EXPECT
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    default=30.0,
    show_default=True,
    type=click.FloatRange(1.0, 86_400.0),
    help="Seconds between looks, with --follow.",
)
@click.option(
    "--witness",
    "witnesses",
    multiple=True,
    metavar="URL KEY",
    nargs=2,
    help="Have each new checkpoint signed by this witness: its address and its key line.",
)
@click.option(
    "--blobs",
    is_flag=True,
    help="Keep the blobs too that whoever continues the lab would need: the ledger in DIR/ledger, blobs in DIR/blobs.",
)
@bounded_fetch("DIR/blobs, with --blobs")
@JSON
def mirror(
    url: str,
    folder: Path,
    expect: str | None,
    follow: bool,
    every_s: float,
    witnesses: tuple[tuple[str, str], ...],
    blobs: bool,
    max_gb: float,
    as_json: bool,
) -> None:
    """Keep what the lab (or mirror) at URL shows in DIR, as files that any web server can hand out.

    The same command again takes what is new, and only if it goes on from what is there: a lab that signs two
    histories is found out, and nothing of the first is lost. `archipel ledger verify DIR` recomputes all of it.

    \b
    Examples:
      archipel ledger mirror https://lab.example lab-ledger
      archipel ledger mirror https://lab.example lab-ledger --follow --every 60
      archipel ledger mirror https://lab.example lab-mirror --follow --blobs
      archipel ledger mirror https://lab.example lab-ledger --witness https://w.example "w.example+1a2b3c4d+BEr..."
    """
    if len(witnesses) > MAX_WITNESSES:
        raise click.UsageError(f"--witness: {len(witnesses)} of them; at most {MAX_WITNESSES}")
    keys = [_witness_key(line) for _, line in witnesses]
    if blobs:
        if witnesses:
            raise click.UsageError("--blobs: heads are signed here then; leave --witness out")
        mirror_whole(Whole(url, folder, expect, max_gb), every_s if follow else None, as_json)
        return
    while True:
        try:
            kept, new = _once(url, folder, expect)
            signed = [_signed(kept, at, key) for (at, _), key in zip(witnesses, keys, strict=True)]
        except Mendable as error:
            if not follow or _is_proof(error):
                raise
            click.echo(f"{error}; trying again", err=True)
        else:
            if new or not follow:
                told = _told(folder, kept, new, signed)
                show(told, as_json, lambda told=told: _words(told))  # type: ignore[misc]
        if not follow:
            return
        time.sleep(every_s)


def _once(url: str, folder: Path, expect: str | None) -> tuple["Mirror", int]:
    """The mirror as it is now, and how many entries are new."""
    from archipel.cli.ledger_checked import CHECKPOINT, counting, expected, mirror_in
    from archipel.cli.ledger_continued import succeeding
    from archipel.cli.ledger_reader import reader_of
    from archipel.identity import IdentityError
    from archipel.ledger.mirror import Mirror
    from archipel.ledger.storage import LedgerError
    from archipel.ledger.verification import lab_key

    at_work("reading the ledger")
    with mending(IdentityError, LedgerError, OSError, ValueError), reader_of(url) as source:
        did = expected(source.did(), expect)
        held = did
        if (folder / CHECKPOINT).is_file():
            held = mirror_in(folder)[
                1
            ]  # of the lab before, perhaps, whose ledger this one continues
        kept, head = Mirror(folder, lab_key(held)), source.head(did)
        before = kept.size
        if head.size != before or kept.head is None or head.root != kept.head.root:
            entries = succeeding(source.entries(head.size, before), held, did)
            kept.extend(counting(head.size, entries, before), head)
        return kept, kept.size - before


def _is_proof(error: Mendable) -> bool:
    """What no further try mends: the lab has signed two histories."""
    return "two histories" in str(error) or "gone back" in str(error)


def _witness_key(line: str) -> Any:
    from archipel.ledger.signed_note import COSIGNATURE, BadNote, NoteKey

    try:
        key = NoteKey.from_text(line)
    except BadNote as error:
        raise click.UsageError(f"--witness: {error}") from None
    if key.kind != COSIGNATURE:
        raise click.UsageError(
            f"--witness: {key.name} is a log's key; expected a witness's, as it prints it"
        )
    return key


def _signed(kept: "Mirror", url: str, key: Any) -> str:
    """What became of asking one witness; its signature is kept beside the checkpoint."""
    from archipel.cli.ledger_witness import ask_witness
    from archipel.ledger.storage import LedgerError

    with mending(LedgerError, OSError):
        return ask_witness(kept, url, key)


def _told(folder: Path, kept: "Mirror", new: int, signed: list[str]) -> dict[str, Any]:
    return {
        "mirror": str(folder),
        "entries": kept.size,
        "new": new,
        "head": kept.head.note.decode() if kept.head else None,
        "witnesses": signed,
    }


def _words(told: dict[str, Any]) -> str:
    lines = [f"{told['mirror']}: {counted(told['entries'], 'entry', 'entries')}, {told['new']} new"]
    return "\n".join([*lines, *told["witnesses"]])
