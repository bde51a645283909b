"""Kind `bits`: one bit of one file at rest is another; it is noticed, or it changes nothing.

Many flips of the lab's files are looked at as a sceptic would (`ledger verify`, `run verify`); one flip of
any file of the site is lived with: everything is started again from it, and the run goes on to its end.
"""

import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from archipel.bench.site import SiteFailed
from archipel.cli.archipel import run as archipel
from archipel.identity import IdentityError
from faults.images import NODE, OF_THE_LAB, PARTS, Flip, copied, drawn, image
from faults.worlds import Bench, Told, World, world
from tiny import NAME

LOOKED_AT = 12
"""Flips that a sceptic looks at, for each seed."""
LIVED_WITH_S = 60.0
"""A run that goes on from a damaged site has something new in its ledger within this time, or stands still and says
why: lab and agents are up in three to ten seconds on a quiet machine, and a node that loads its tensor library beside ten
other processes took up to a minute.
"""
TRACEBACK = "Traceback (most recent call last)"


def run(seed: int, bench: Bench, folder: Path) -> Told:
    """LOOKED_AT flips of the lab's files, then one of any file that is lived with."""
    rng = random.Random(f"bits {seed}")
    site = image(bench, rng.choice(("killed", "stopped")))
    folder.mkdir(parents=True)
    outcomes, wrong = looked_at(rng, site, folder, LOOKED_AT)
    flip = drawn(rng, site, tuple(PARTS))
    became, found = lived_with(flip, bench, copied(site, folder / "site"))
    notes = f"{dict(outcomes)}; {site.name}, {flip.line()}: {became}"
    hits = {"bit at rest: lab": LOOKED_AT, f"bit at rest: {flip.part}": 1}
    return Told([*wrong, *found], LOOKED_AT + 1, notes, hits)


def looked_at(
    rng: random.Random, site: Path, folder: Path, count: int
) -> tuple[Counter[str], list[str]]:
    """(outcomes, what was not noticed) of `count` flips in the lab's files."""
    sound = seen_by_a_sceptic(copied(site / "lab", folder / "sound"), folder)
    outcomes: Counter[str] = Counter()
    wrong = []
    for _ in range(count):
        flip, place = drawn(rng, site, OF_THE_LAB), folder / "spoilt"
        copied(site, place)
        flip.do(place)
        outcome = judged(sound, seen_by_a_sceptic(place / "lab", folder))
        outcomes[outcome] += 1
        if outcome not in ("noticed", "no effect"):
            wrong.append(f"{site.name}, {flip.line()}: {outcome}")
        shutil.rmtree(place)
    return outcomes, wrong


def judged(sound: Sequence[tuple[int, str]], spoilt: Sequence[tuple[int, str]]) -> str:
    """What became of a flip: `noticed`, `no effect`, or what is wrong."""
    if any(TRACEBACK in text for _, text in spoilt):
        return "a traceback"
    if any(code for code, _ in spoilt):
        silent = any(code and not text.strip() for code, text in spoilt)
        return "refused without a word" if silent else "noticed"
    return "no effect" if list(sound) == list(spoilt) else "an unnoticed difference"


def seen_by_a_sceptic(lab: Path, scratch: Path) -> list[tuple[int, str]]:
    """(exit code, what was said) of `ledger verify` and `run verify` on the lab's folder."""
    home = str(lab)
    return [
        _said(["ledger", "verify", "--home", home, "--json"], lab),
        _said(["run", "verify", NAME, "--home", home, "--json"], lab),
    ]


def _said(words: list[str], lab: Path) -> tuple[int, str]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            archipel(words)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    said = out.getvalue() if code == 0 else out.getvalue() + err.getvalue()
    return code, said.replace(str(lab), "LAB")


def lived_with(flip: Flip, bench: Bench, site: Path) -> tuple[str, list[str]]:
    """(what became of it, what is wrong) once everything is started again from the damaged site."""
    flip.do(site)
    for output in (*site.glob("*.out"), *site.glob("*/log.jsonl"), *site.glob("*/child.log")):
        output.unlink()
    with world(bench, site) as made:
        try:
            _start_all(made)
            made.wait_while_it_moves("the end of the run", LIVED_WITH_S)
        except (SiteFailed, IdentityError) as error:
            return standing(site, str(error))
        told = made.told()
    itself = flip.file.removeprefix("lab/blobs/").replace("/", "")  # seen by whoever reads it next
    return "no effect", [f"{flip.line()}: {each}" for each in told.wrong if itself not in each]


def _start_all(made: World) -> None:
    made.open_lab()
    made.site.start_update()
    made.start_nodes([NODE], ())


def standing(site: Path, error: str) -> tuple[str, list[str]]:
    """A site that does not go on has said why, in sentences."""
    said = {path: path.read_text(errors="replace") for path in site.glob("*.out")}
    troubled = [path.name for path, text in said.items() if TRACEBACK in text]
    if troubled:
        return "a traceback", [f"a traceback in {', '.join(troubled)}: {error}"]
    complaints = _complaints(site)
    if " ended with code " in error or "key" in error:
        return f"noticed: {error.splitlines()[-1][:160]}", []
    if complaints:
        return f"noticed: {complaints[-1][:160]}", []
    return "stands still", [f"stands still and nobody says why: {error}"]


def _complaints(site: Path) -> list[str]:
    """What agents and lab logged as more than information."""
    found = []
    for path in (*site.glob("*/log.jsonl"), *site.glob("lab.out")):
        for line in path.read_text(errors="replace").splitlines():
            try:
                told = json.loads(line)
            except json.JSONDecodeError:
                continue
            if told.get("level") in ("warning", "error"):
                found.append(f"{told.get('event')}: {told.get('reason', '')}")
    return found
