"""`make faults`: seeded faults over a whole lab of real processes, and whether everything that must hold holds.

Each seed is a world of one kind: who dies, what the network does, which bit flips, whose disk is full, whose
clock is wrong, and when. A failure is named by kind and seed, and told again by the same seed, as far as
processes repeat themselves. Ctrl-C ends it with what is known; every world and the whole have a deadline.
"""

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import click

from faults import bits, clocks, disks, network, processes
from faults.worlds import Bench, Told, undisturbed
from tiny import write_start

KINDS: dict[str, Callable[[int, Bench, Path], Told]] = {
    "processes": processes.run,
    "network": network.run,
    "bits": bits.run,
    "disks": disks.run,
    "clocks": clocks.run,
}
WORLD_LIMIT_S = 300
"""A world that is not over by then is ended, and wrong."""
AGAIN = "make faults SEEDS=1 FIRST={seed} FAULTS_OPTIONS='--only {kind} --keep'"
ENDED_EARLY = 130
EXPECTED = "expected.json"


class Overdue(BaseException):
    """A world takes too long; nothing that it waits for may swallow this."""


@dataclass(frozen=True)
class Ended:
    """One world that is over."""

    kind: str
    seed: int
    seconds: float
    faults: int
    wrong: Sequence[str]
    notes: str

    def line(self) -> str:
        """For a terminal."""
        head = f"{self.kind}, seed {self.seed}: {'WRONG' if self.wrong else 'holds'}"
        first = f" {self.wrong[0]:.300};" if self.wrong else ""
        return f"{head},{first} {self.seconds:.0f} s, {self.notes}"

    def failure(self) -> str:
        """What is wrong, and how to see it again."""
        again = AGAIN.format(seed=self.seed, kind=self.kind)
        return "\n".join([self.line(), *(f"  {each}" for each in self.wrong), f"  again: {again}"])


class Campaign:
    """Worlds one after the other."""

    def __init__(self, bench: Bench, keep: bool, say: Callable[[str], None]) -> None:
        self.ended: list[Ended] = []
        self._bench = bench
        self._keep = keep
        self._say = say

    def run(self, kinds: Sequence[str], seeds: range, until_s: float) -> bool:
        """All seeds of all kinds, seed by seed; False when the time (monotonic) was over before the seeds."""
        todo = [(kind, seed) for seed in seeds for kind in kinds]
        for number, (kind, seed) in enumerate(todo, 1):
            left_s = until_s - time.monotonic()
            if left_s < 1:
                return False
            ended = self._one(kind, seed, min(WORLD_LIMIT_S, int(left_s)))
            if ended is None:
                return False
            self.ended.append(ended)
            self._say(f"[{number}/{len(todo)}] {ended.line()}")
        return True

    def _one(self, kind: str, seed: int, limit_s: int) -> Ended | None:
        """None: it was cut off by the end of the campaign, so nothing is known of it."""
        folder, begun = self._bench.folder / f"{kind}-{seed}", time.monotonic()
        try:
            with _over_within(limit_s):
                told = KINDS[kind](seed, self._bench, folder)
        except Overdue:
            if limit_s < WORLD_LIMIT_S:
                return None
            told = Told([f"not over after {limit_s} s"], 0)
        except Exception as error:  # noqa: BLE001  the harness too is told, and the next seed tried
            told = Told([f"{type(error).__name__}: {error!s:.500}"], 0)
        if not self._keep and not told.wrong:
            shutil.rmtree(folder, ignore_errors=True)
        took_s = time.monotonic() - begun
        return Ended(kind, seed, took_s, told.faults, told.wrong, told.notes)


@contextmanager
def _over_within(seconds: int) -> Iterator[None]:
    def overdue(number: int, frame: FrameType | None) -> None:
        raise Overdue

    before = signal.signal(signal.SIGALRM, overdue)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def table(ended: Sequence[Ended]) -> str:
    """A row for each kind."""
    lines = [f"{'kind':<12} {'worlds':>7} {'faults':>7} {'wrong':>6} {'s/world':>8}"]
    for kind in KINDS:
        mine = [each for each in ended if each.kind == kind]
        if mine:
            faults, wrong = sum(each.faults for each in mine), sum(bool(e.wrong) for e in mine)
            mean_s = sum(each.seconds for each in mine) / len(mine)
            lines.append(f"{kind:<12} {len(mine):>7} {faults:>7} {wrong:>6} {mean_s:>8.1f}")
    return "\n".join(lines)


def make_bench(folder: Path, calm: Path | None = None) -> Bench:
    """A starting model, and the undisturbed run that all are compared with.

    calm: where both are kept for other campaigns on the same source, or lie already.
    """
    place = calm or folder
    start, expected = place / "start", place / EXPECTED
    if not expected.exists():
        start.mkdir(parents=True)
        write_start(start)
        partial = expected.with_suffix(".partial")
        partial.write_text(json.dumps(undisturbed(place / "calm", start)))
        partial.replace(expected)
    return Bench(folder, start, json.loads(expected.read_text()))


def _tell(line: str) -> None:
    click.echo(line, err=True)


@click.command()
@click.option("--seeds", default=2, show_default=True, type=click.IntRange(1), help="Per kind.")
@click.option("--first", default=0, show_default=True, type=click.IntRange(0), help="First seed.")
@click.option("--only", multiple=True, help="One kind; repeatable.", type=click.Choice(list(KINDS)))
@click.option(
    "--minutes", default=60.0, show_default=True, type=click.FloatRange(0.1), help="For all."
)
@click.option("--keep", is_flag=True, help="Keep the folders of sound worlds too.")
@click.option(
    "--calm",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps the undisturbed run for the next campaign on the same source.",
)
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def session(
    seeds: int,
    first: int,
    only: tuple[str, ...],
    minutes: float,
    keep: bool,
    calm: Path | None,
    is_json: bool,
) -> None:
    """Disturb a lab in so many ways of each kind, and say what did not hold."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # started in the background it is ignored
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    until_s = time.monotonic() + 60 * minutes
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    ended: list[Ended] = []
    code = 0
    try:
        _tell(f"the undisturbed run, in {folder}")
        campaign = Campaign(make_bench(folder, calm), keep, _tell)
        ended = campaign.ended
        if not campaign.run(only or tuple(KINDS), range(first, first + seeds), until_s):
            _tell(f"the {minutes:g} minutes are over; what is known so far:")
    except KeyboardInterrupt:
        code = ENDED_EARLY
        _tell("stopped; what is known so far:")
    failures = [each for each in ended if each.wrong]
    if not keep and not failures:
        shutil.rmtree(folder, ignore_errors=True)
    if is_json:
        click.echo(json.dumps([asdict(each) for each in ended], indent=1))
    else:
        click.echo("\n".join([table(ended), *(each.failure() for each in failures)]))
    sys.exit(code or (1 if failures else 0))


if __name__ == "__main__":
    session()
