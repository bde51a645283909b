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
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

from faults import answering, bits, clocks, disks, network, processes, storm, trained
from faults.kept import Ended, Kept
from faults.stores import Stores
from faults.telling import hit, table
from faults.worlds import Bench, Told, undisturbed
from tiny import write_start

KINDS: dict[str, Callable[[int, Bench, Path], Told]] = {
    "processes": processes.run,
    "network": network.run,
    "bits": bits.run,
    "disks": disks.run,
    "clocks": clocks.run,
    "storm": storm.run,
    "training door": trained.run,
    "model's door": answering.run,
}
WORLD_LIMIT_S = 600
"""A world that is not over by then is ended, and wrong. A storm is opened, rages for 150 s, may stand still for less than 120
and is looked at: it took 64 to 571 s beside up to thirty other processes, of which the longest was one that did stand still.
"""
ENDED_EARLY = 130
MOST_SEEDS = 10_000
"""Of a campaign that goes on until there were faults enough."""
EXPECTED = "expected.json"


class Overdue(BaseException):
    """A world takes too long; nothing that it waits for may swallow this."""


class Campaign:
    """Worlds one after the other."""

    def __init__(
        self, bench: Bench, keep: bool, say: Callable[[str], None], kept: Kept | None = None
    ) -> None:
        """keep: the folders of sound worlds too. kept: what is known of worlds that are over."""
        self.kept = kept or Kept()
        self._bench = bench
        self._keep = keep
        self._say = say

    @property
    def ended(self) -> list[Ended]:
        """Worlds that are over."""
        return self.kept.ended

    def run(
        self, kinds: Sequence[str], seeds: range, until_s: float, enough: int | None = None
    ) -> bool:
        """All seeds of all kinds, seed by seed; False when the time (monotonic) was over before the seeds.

        enough: faults after which it ends, whatever seeds are left.
        """
        todo = [(kind, seed) for seed in seeds for kind in kinds]
        for number, (kind, seed) in enumerate(todo, 1):
            if self.kept.has(kind, seed):
                continue
            if enough is not None and self.kept.faults >= enough:
                return True
            left_s = until_s - time.monotonic()
            if left_s < 1:
                return False
            ended = self._one(kind, seed, min(WORLD_LIMIT_S, int(left_s)))
            if ended is None:
                return False
            self.kept.add(ended)
            of = f"{self.kept.faults}/{enough} faults" if enough else f"{number}/{len(todo)}"
            self._say(f"[{of}] {ended.line()}")
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
        took_s = round(time.monotonic() - begun, 1)
        return Ended(kind, seed, took_s, told.faults, told.wrong, told.notes, dict(told.hits))


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


def make_bench(folder: Path, calm: Path | None = None, stores: Stores | None = None) -> Bench:
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
    return Bench(folder, start, json.loads(expected.read_text()), stores)


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
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps what is known of each world; the same command goes on from there.",
)
@click.option(
    "--faults", type=click.IntRange(1), help="Go on with further seeds until so many took effect."
)
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def session(
    seeds: int,
    first: int,
    only: tuple[str, ...],
    minutes: float,
    keep: bool,
    calm: Path | None,
    out: Path | None,
    faults: int | None,
    is_json: bool,
) -> None:
    """Disturb a lab in so many ways of each kind, and say what did not hold."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # started in the background it is ignored
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    until_s = time.monotonic() + 60 * minutes
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    kept, code = Kept(out), 0
    chosen = range(first, first + (seeds if faults is None else MOST_SEEDS))
    stores = None
    try:
        stores = Stores()
        _tell(f"labs over {', '.join(stores.names)}; the undisturbed run, in {folder}")
        bench = make_bench(folder, calm or (out / "calm" if out else None), stores)
        campaign = Campaign(bench, keep, _tell, kept)
        if not campaign.run(only or tuple(KINDS), chosen, until_s, faults):
            _tell(f"the {minutes:g} minutes are over; what is known so far:")
    except KeyboardInterrupt:
        code = ENDED_EARLY
        _tell("stopped; what is known so far:")
    finally:
        if stores is not None:
            stores.close()
    failures = [each for each in kept.ended if each.wrong]
    if not keep and not failures:
        shutil.rmtree(folder, ignore_errors=True)
    _report(kept.ended, failures, is_json)
    sys.exit(code or (1 if failures else 0))


def _report(ended: Sequence[Ended], failures: Sequence[Ended], is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps([asdict(each) for each in ended], indent=1))
        return
    parts = [table(ended), hit(ended), *(each.failure() for each in failures)]
    click.echo("\n\n".join(parts) if ended else "no world is over")


if __name__ == "__main__":
    session()
