"""`archipel lab backup` and `restore`: a lab's home copied beside the running lab, and put back."""

import base64
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, home_folder, mending, show
from archipel.cli.lab_blobs import open_blobs, said_place, say_place
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.blobs.port import LabBlobs
    from archipel.cli.ledger_checked import Checked
    from archipel.lab.backups import Copied

HOME = click.option(
    "--home", type=click.Path(path_type=Path), help="The lab's folder [~/.archipel/lab]."
)
BLOBS = click.option(
    "--blobs",
    metavar="URL",
    help="Where the blobs lie, if not where the lab said when it started: s3://BUCKET/PREFIX?endpoint=https://HOST.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
FOLDER = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


@click.command()
@FOLDER
@HOME
@click.option(
    "--all-blobs",
    is_flag=True,
    help="Also blobs that the lab itself needs no more: what `run verify` looks at, as far as it is there.",
)
@BLOBS
@click.option(
    "--copy-blobs",
    is_flag=True,
    help="Also copy needed blobs out of the lab's bucket; else they stay there, and DIR lists them.",
)
@JSON
def backup(
    folder: Path,
    home: Path | None,
    all_blobs: bool,
    blobs: str | None,
    copy_blobs: bool,
    as_json: bool,
) -> None:
    """Copy a lab's home to DIR, also while the lab runs: ledger, head, needed blobs, keys.

    Blobs in a bucket stay there, and what is missing of them is said: let the bucket keep versions, or copy it, or say
    --copy-blobs.

    The same DIR again takes what is new, and is a whole copy at every moment. It holds the lab's keys:
    whoever has it can be the lab. A ledger in PostgreSQL is backed up by pg_dump instead.

    \b
    Examples:
      archipel lab backup /mnt/backup/lab
      archipel lab backup /mnt/backup/lab --home /srv/lab
      archipel lab backup /mnt/backup/lab --copy-blobs
    """
    from archipel.cli.ledger_checked import stored_state
    from archipel.lab import backups

    home = home_folder("lab", home, make=False)
    with _mending():
        if not (home / backups.LEDGER).is_file():
            raise Mendable(
                f"there is no lab with a ledger of its own at {home}; name one with --home"
            )
        _require_private(folder)
        backups.copy_keys(home, folder)
        place = said_place(home, blobs)
        stored = None if place is None or "://" not in place else open_blobs(place, home, ages=True)
        if stored is None:
            first = _blobs(home, folder, stored_state(None, home, None))
        else:
            first = _stored(stored, folder, stored_state(None, home, None), copied=copy_blobs)
        aside = folder / "newer"
        aside.mkdir(mode=0o700, exist_ok=True)
        backups.copy_ledger(home / backups.LEDGER, aside / backups.LEDGER)
        (aside / backups.HEAD).unlink(missing_ok=True)
        checked = stored_state(str(aside / backups.LEDGER), None, None)
        if stored is None:
            more = backups.all_digests(home) if all_blobs else ()
            second = _blobs(home, folder, checked, more)
        else:
            second = _stored(stored, folder, checked, copied=copy_blobs)
        say_place(folder, place)
        _put_in_place(aside, folder, checked)
    _say("copied to", folder, checked, (first, second), as_json)


@click.command()
@FOLDER
@HOME
@click.option(
    "--head",
    "head_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="The newest head that you know of (see `ledger verify --save-head`): an older copy is refused.",
)
@BLOBS
@JSON
def restore(
    folder: Path, home: Path | None, head_path: Path | None, blobs: str | None, as_json: bool
) -> None:
    """Put the copy in DIR back, to a home that holds no ledger.

    Blobs that stayed in a bucket are looked for there, and those that are missing named.

    What the lab signed after the copy was made is lost, and everybody who kept a newer head will see
    that: restore the newest copy there is, and give --head to make sure.

    \b
    Examples:
      archipel lab restore /mnt/backup/lab
      archipel lab restore /mnt/backup/lab --home /srv/lab --head newest.head
    """
    from archipel.cli.ledger_checked import stored_state
    from archipel.lab import backups

    with _mending():
        if not (folder / backups.LEDGER).is_file():
            raise Mendable(
                f"{folder} holds no whole copy of a lab: there is no {backups.LEDGER} in it"
            )
        home = home_folder("lab", home)
        _refuse_to_overwrite(home, folder)
        own = (
            home / backups.HEAD
        )  # what the lab is known to have signed, although its ledger is gone
        heads = [path for path in (head_path, own) if path and (path == head_path or path.exists())]
        checked = stored_state(str(folder / backups.LEDGER), None, None, heads)
        backups.copy_keys(folder, home)
        place = said_place(folder, blobs)
        copied = _put_back(folder, home, checked, place)
        say_place(home, place)
        _write_head(home, checked)
        backups.copy_ledger(folder / backups.LEDGER, home / backups.LEDGER)
    _say("put back to", home, checked, (copied,), as_json)


def _mending() -> Any:
    from archipel.blobs import BlobError
    from archipel.identity import IdentityError
    from archipel.lab.backups import BadBackup
    from archipel.ledger.storage import LedgerError

    return mending(BadBackup, BlobError, IdentityError, LedgerError, OSError, ValueError)


def _require_private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        raise Mendable(
            f"others may read {folder}, and the lab's keys go there; run: chmod 700 {folder}"
        )


def _blobs(source: Path, target: Path, checked: "Checked", more: Collection[str] = ()) -> "Copied":
    from archipel.lab import backups
    from archipel.lab.parted import Parted

    needs = Parted(backups.Kept(source / "blobs")).needed(checked.found.state).union(more)
    return backups.copy_blobs(source / "blobs", target / "blobs", needs)


def _stored(store: "LabBlobs", target: Path, checked: "Checked", *, copied: bool) -> "Copied":
    """Of blobs in a bucket: a list of those that are needed, or they themselves."""
    from archipel.lab import backups
    from archipel.lab.parted import Parted

    needs = Parted(store).needed(checked.found.state)
    listed = backups.list_stored(store, target, needs)
    return backups.copy_stored(store, target / "blobs", needs) if copied else listed


def _put_back(folder: Path, home: Path, checked: "Checked", place: str | None) -> "Copied":
    """Blobs of the copy; those of a bucket are only looked for."""
    from archipel.lab import backups
    from archipel.lab.parted import Parted

    if place is None or "://" not in place:
        return _blobs(folder, home, checked, backups.all_digests(folder))
    store = open_blobs(place, home, ages=True)
    needs = Parted(store).needed(checked.found.state)
    return backups.Copied(0, 0, tuple(digest for digest in needs if not store.exists(digest)))


def _put_in_place(aside: Path, folder: Path, checked: "Checked") -> None:
    """The newer ledger under its name; between the two steps the head is older, which any start mends."""
    from archipel.lab import backups

    (aside / backups.LEDGER).replace(folder / backups.LEDGER)
    _write_head(folder, checked)
    aside.rmdir()


def _write_head(folder: Path, checked: "Checked") -> None:
    from archipel.lab import backups
    from archipel.ledger.verification import lab_key

    backups.write_head(folder / backups.HEAD, lab_key(checked.did), checked.head)


def _refuse_to_overwrite(home: Path, folder: Path) -> None:
    from archipel.cli.ledger_checked import stored_state
    from archipel.lab import backups
    from archipel.ledger.storage import LedgerError

    if not (home / backups.LEDGER).exists():
        return
    copy = stored_state(str(folder / backups.LEDGER), None, None)
    try:
        there = stored_state(None, home, None)
    except (LedgerError, Mendable) as error:
        found = f"a ledger that does not hold ({error})"
    else:
        found = f"a ledger of {counted(there.head.size, 'entry', 'entries')}, root {_root(there)}"
    raise Mendable(
        f"{home} holds {found}; the copy in {folder} has {counted(copy.head.size, 'entry', 'entries')}, root {_root(copy)}; "
        "move the folder away, or name another --home"
    )


def _root(checked: "Checked") -> str:
    return base64.b64encode(checked.head.root).decode()


def _say(
    what: str, folder: Path, checked: "Checked", copied: tuple["Copied", ...], as_json: bool
) -> None:
    missing = sorted(copied[-1].missing)
    num_blobs, num_bytes = (
        sum(values) for values in zip(*((c.blobs, c.bytes) for c in copied), strict=True)
    )
    result = {
        "folder": os.fspath(folder),
        "lab": checked.did,
        "entries": checked.head.size,
        "root": _root(checked),
        "blobs": num_blobs,
        "bytes": num_bytes,
        "missing_blobs": missing,
    }
    lines = [
        f"lab {checked.did} {what} {folder}",
        f"{counted(checked.head.size, 'entry', 'entries')}, all of which hold, root {_root(checked)}",
        f"{counted(num_blobs, 'blob')} of {counted(num_bytes, 'byte')} came along",
    ]
    if missing:
        lines.append(
            f"MISSING: {counted(len(missing), 'blob')} that the ledger needs, the first {missing[0]}"
        )
    show(result, as_json, lambda: "\n".join(lines))
