"""`make mutants`: change the source in small ways, and see whether the tests notice.

A sample of a room's mutations is drawn by a seed and run, several at once; whoever survives is a
line that no test holds. Same seed, same source, same sample. Ctrl-C ends it with what is known.
"""

import json
import random
import signal
import sys
import tempfile
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from mutants.mutation import Mutation, mutations
from mutants.suite import Suite, SuiteFailed

EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
FATES = ("killed", "hung", "survived", "equivalent")
SHOWN = 100
"""Characters of a changed line that a terminal still holds."""


@dataclass(frozen=True)
class Mutant:
    """A mutation of one file; `file` is relative to the source folder."""

    file: str
    mutation: Mutation

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What an equivalent is recognised by: lines move, this stays."""
        return self.file, self.mutation.scope, self.mutation.before, self.mutation.after

    def line(self) -> str:
        """`file:line  what it was -> what it became`."""
        before, after = _short(self.mutation.before), _short(self.mutation.after)
        return f"src/{self.file}:{self.mutation.line}  {before}  ->  {after}"


def possible(source: Path, package: str, room: str, without: tuple[str, ...]) -> list[Mutant]:
    """Every mutant of a room, by file and position; `without` names files to leave out."""
    place = source / package / room
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    return [
        Mutant(str(file.relative_to(source)), each)
        for file in files
        if file.name not in without
        for each in mutations(file.read_text())
    ]


def sample(mutants: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` places, all equally likely, and one of the mutations at each."""
    places: dict[tuple[Any, ...], list[Mutant]] = {}
    for each in mutants:
        places.setdefault((each.file, each.mutation.place, each.mutation.kind), []).append(each)
    chance = random.Random(seed)
    drawn = chance.sample(list(places.values()), min(count, len(places)))
    return sorted((chance.choice(options) for options in drawn), key=lambda each: each.line())


def read_equivalents(file: Path, mutants: list[Mutant]) -> tuple[dict[Any, str], list[str]]:
    """(key -> reason, what is wrong with the list) for the files that `mutants` come from."""
    entries = tomllib.loads(file.read_text()).get("equivalent", [])
    keys, files = {each.key for each in mutants}, {each.file for each in mutants}
    known, wrong = {}, []
    for entry in entries:
        key = tuple(entry[name] for name in ("file", "scope", "before", "after"))
        if not entry["reason"].strip():
            wrong.append(f"{key} has no reason")
        elif key in keys:
            known[key] = entry["reason"]
        elif entry["file"] in files:
            wrong.append(f"{key} fits nothing in the source any more; remove it")
    return known, wrong


class Session:
    """One sample on its way."""

    def __init__(self, suite: Suite, drawn: list[Mutant], equivalents: dict[Any, str]) -> None:
        self._suite = suite
        self.drawn = drawn
        self.fates = {each: "equivalent" for each in drawn if each.key in equivalents}

    def run(self, jobs: int) -> bool:
        """Run what is not known to be equivalent; False when it was interrupted."""
        todo = [each for each in self.drawn if each not in self.fates]
        with ThreadPoolExecutor(jobs) as pool:
            waiting = {
                pool.submit(self._suite.fate, number, each.file, each.mutation): each
                for number, each in enumerate(todo)
            }
            try:
                for done in as_completed(waiting):
                    self._note(waiting[done], done.result())
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                self._suite.stop()
                return False
        return True

    def _note(self, mutant: Mutant, fate: str) -> None:
        self.fates[mutant] = fate
        say(f"[{len(self.fates)}/{len(self.drawn)}] {fate:<8}  {mutant.line()}")

    def survivors(self) -> list[Mutant]:
        """In the order of the source."""
        return [each for each in self.drawn if self.fates.get(each) == "survived"]

    def counts(self) -> dict[str, int]:
        """Mutants by fate."""
        found = Counter(self.fates.values())
        return {fate: found[fate] for fate in FATES}


def say(line: str) -> None:
    """Progress goes where it does not mix with the result."""
    print(line, file=sys.stderr, flush=True)


def report(room: str, session: Session) -> str:
    """Survivors first, then the room's line of the table."""
    counts = session.counts()
    judged = counts["killed"] + counts["hung"] + counts["survived"]
    share = f"{(judged - counts['survived']) / judged:.0%}" if judged else "-"
    lines = [each.line() for each in session.survivors()]
    head = " ".join(f"{name:>10}" for name in ("room", *FATES, "killed %"))
    row = " ".join(f"{value:>10}" for value in (room, *counts.values(), share))
    return "\n".join([*lines, head, row])


def as_values(room: str, seed: int, session: Session) -> dict[str, Any]:
    """The same for a program."""
    mutants = [
        {"file": each.file, **asdict(each.mutation), "fate": session.fates.get(each)}
        for each in session.drawn
    ]
    return {"room": room, "seed": seed, **session.counts(), "mutants": mutants}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 3] + "..."


@click.command()
@click.argument("rooms", nargs=-1, required=True)
@click.option("--count", default=20, show_default=True, help="Mutants of each room.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(1,), help="One sample each.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1, 64))
@click.option("--without", multiple=True, metavar="FILE.py", help="A file to leave alone.")
@click.option("--root", default=".", type=click.Path(path_type=Path), help="The checkout [.].")
@click.option("--equivalents", default=EQUIVALENTS, type=click.Path(path_type=Path))
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def command(
    rooms: tuple[str, ...],
    count: int,
    seeds: tuple[int, ...],
    jobs: int,
    without: tuple[str, ...],
    root: Path,
    equivalents: Path,
    is_json: bool,
) -> None:
    """Draw COUNT mutants of each room and say which ones the tests let live."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    root = root.resolve()
    (package,) = (each.parent.name for each in (root / "src").glob("*/__init__.py"))
    values = []
    for room in rooms:
        with tempfile.TemporaryDirectory(prefix="mutants-") as workspace:
            mutants = possible(root / "src", package, room, without)
            known, wrong = read_equivalents(equivalents, mutants)
            for line in wrong:
                say(f"{equivalents.name}: {line}")
            try:
                suite = Suite(root, room, Path(workspace))
                say(f"{room}: {len(mutants)} possible; {len(suite.paths)} test files on the source")
                say(f"{room}: the tests take {suite.measure(jobs):.0f} s")
            except SuiteFailed as error:
                raise click.ClickException(str(error)) from None
            for seed in seeds:
                session = Session(suite, sample(mutants, count, seed), known)
                is_whole = session.run(jobs)
                values.append(as_values(room, seed, session))
                if not is_json:
                    click.echo(f"seed {seed}\n{report(room, session)}")
                if not is_whole:
                    raise click.exceptions.Exit(130)
    if is_json:
        click.echo(json.dumps(values, indent=1))


if __name__ == "__main__":
    command()
