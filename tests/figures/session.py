"""`make figures`: every figure of the README's table, by its command, in one sitting.

Commands run one after the other, so that none stands in another's way; what each printed, how long it took and the
load beside it are kept, and the same command goes on where it was ended. Ctrl-C ends the command at work with all
that it started; what is over stays.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from figures.rows import BLANKS, Row, argv_of, rows_of

HOUSE = Path(__file__).parents[2]
GRACE_S = 20
"""For a command to end by itself after it was told to."""
SHELL = os.environ  # noqa: TID251  what a sitting is started with
MAKES = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL")
"""What a make hands to those below it: `make figures OUT=...` would say `OUT` to each make of the table as well."""


def sit(
    rows: Sequence[Row], folder: Path, given: Mapping[str, str], quick: bool, limit_s: float
) -> list[dict[str, object]]:
    """What became of each command of these rows, in their order."""
    told: list[dict[str, object]] = []
    for row in rows:
        for command in row.commands:
            place = folder / re.sub(r"[^a-z0-9]+", "-", command.lower()).strip("-")
            kept = place / "ended.json"
            if kept.exists():
                ended = json.loads(kept.read_text())
            else:
                argv = argv_of(command, given, quick)
                click.echo(f"{time.strftime('%H:%M:%S')}  {command}", err=True)
                ended = (
                    {"why": "left out: it needs --set " + _blanks(command)}
                    if argv is None
                    else _run(argv, place, limit_s)
                )
                if "exit" in ended:
                    kept.write_text(json.dumps(ended))
                click.echo(f"          {_line(ended)}", err=True)
            told.append({"claim": row.claim, "readme": row.figure, "command": command, **ended})
    return told


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else writes there meanwhile, nor measures beside this. Raises ClickException: somebody does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(
                f"another sitting writes to {folder}: wait for its end, or end it"
            ) from None
        yield


def _blanks(command: str) -> str:
    return " --set ".join(f"{word}=..." for word in command.split() if word in BLANKS)


def _run(argv: Sequence[str], place: Path, limit_s: float) -> dict[str, object]:
    place.mkdir(parents=True, exist_ok=True)
    load, begun = os.getloadavg()[0], time.monotonic()
    with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
        child = subprocess.Popen(
            argv,
            cwd=HOUSE,
            env={name: value for name, value in SHELL.items() if name not in MAKES},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            code = child.wait(limit_s)
            why = ""
        except subprocess.TimeoutExpired:
            code, why = -1, f"not over after {limit_s:.0f} s"
        finally:
            _end(child)
    took_s = round(time.monotonic() - begun, 1)
    return {
        "exit": code,
        "why": why,
        "seconds": took_s,
        "load before": round(load, 1),
        "in": str(place),
    }


def _end(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def _line(ended: Mapping[str, object]) -> str:
    if "exit" not in ended:
        return str(ended["why"])
    return f"exit {ended['exit']} after {ended['seconds']} s, load {ended['load before']} {ended['why']}".rstrip()


@click.command()
@click.option(
    "--out",
    "folder",
    default="figures",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where all is kept.",
)
@click.option("--only", multiple=True, help="Commands with this text alone; repeatable.")
@click.option("--set", "blanks", multiple=True, help="What stands for a blank, as N=3; repeatable.")
@click.option("--quick", is_flag=True, help="Benches in their short form.")
@click.option(
    "--minutes", default=60.0, show_default=True, type=click.FloatRange(0.1), help="For each."
)
@click.option("--json", "as_json", is_flag=True, help="One document in the place of the table.")
def session(
    folder: Path,
    only: tuple[str, ...],
    blanks: tuple[str, ...],
    quick: bool,
    minutes: float,
    as_json: bool,
) -> None:
    """Each command of the README's table, one after the other."""
    given = dict(each.split("=", 1) for each in blanks if "=" in each)
    if strange := [
        each for each in blanks if each.partition("=")[0] not in BLANKS or "=" not in each
    ]:
        raise click.UsageError(
            f"--set {strange[0]}: expected one of {', '.join(BLANKS)}, '=' and what stands for it"
        )
    rows = rows_of((HOUSE / "README.md").read_text())
    if only:
        rows = [
            Row(row.claim, row.figure, kept)
            for row in rows
            if (kept := tuple(c for c in row.commands if any(text in c for text in only)))
        ]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    with alone(folder.resolve()):
        told = sit(rows, folder.resolve(), given, quick, minutes * 60)
    if as_json:
        click.echo(json.dumps(told, indent=1))
        return
    for each in told:
        click.echo(f"{each['command']}\n  {_line(each)}\n  README: {each['readme']:.200}")


if __name__ == "__main__":
    session()
