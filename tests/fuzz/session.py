"""`make fuzz`: spoilt bytes for every reader of foreign bytes, drawn by seeds.

Only the errors that a reader documents may come out, and each input is over within LIMIT_S. A failure is
named by reader and seed, and told again by the same seed. With a folder, the same command goes on where it
ended. Ctrl-C ends it with what is known.
"""

import json
import multiprocessing
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path

import click

from fuzz.counted import Counted
from fuzz.readers import READERS
from fuzz.trying import Block, Failure, block_tried

BLOCK = 200
"""Inputs that a reader has at a time."""
TOLD_EVERY_S = 10.0
ENDED_EARLY = 130
DIED = "the process that read {} inputs from this seed on died"


class Campaign:
    """Blocks for readers in turn, in processes beside this one."""

    def __init__(self, counted: Counted, jobs: int) -> None:
        self._counted = counted
        self._jobs = jobs
        self._pool = self._made()
        self._running: dict[Future[Block], Block] = {}
        self._told_s = 0.0

    def run(
        self, readers: Sequence[str], first: int, aim: tuple[int | None, int | None], until_s: float
    ) -> bool:
        """Until each reader had `aim[0]` inputs or all had `aim[1]`; False when the time was over before."""
        waiting = list(readers)
        each, of_all = aim
        while waiting or self._running:
            is_over = time.monotonic() > until_s
            is_enough = of_all is not None and self._counted.inputs + self._drawn() >= of_all
            while waiting and len(self._running) < self._jobs and not (is_over or is_enough):
                name = waiting.pop(0)
                had = self._counted.of(name)
                size = BLOCK if each is None else min(BLOCK, each - had)
                if size > 0:
                    self._start(Block(name, self._counted.next_seed(name, first), size))
            if not self._running:
                return bool(is_enough or not waiting)
            waiting += self._ended()
            self._tell(of_all if each is None else each * len(readers))
        return True

    def close(self) -> None:
        """Blocks that run are ended and counted."""
        while self._running:
            self._ended()
        self._pool.shutdown()

    def _made(self) -> ProcessPoolExecutor:
        how = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._jobs, how, initializer=_deaf_to_interrupts)

    def _drawn(self) -> int:
        return sum(block.inputs for block in self._running.values())

    def _start(self, block: Block) -> None:
        future = self._pool.submit(block_tried, block.reader, block.first, block.inputs)
        self._running[future] = block

    def _ended(self) -> list[str]:
        """The readers whose blocks are over by now; waits for one."""
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        blocks = [(self._running.pop(future), future) for future in done]
        for asked, future in blocks:
            try:
                self._counted.add(future.result())
            except BrokenProcessPool:
                died = Failure(asked.reader, asked.first, DIED.format(asked.inputs))
                self._counted.add(Block(asked.reader, asked.first, asked.inputs, (died,)))
        if any(isinstance(future.exception(), BrokenProcessPool) for _, future in blocks):
            self._pool.shutdown()
            self._pool = self._made()
        return [asked.reader for asked, _ in blocks]

    def _tell(self, of: int | None) -> None:
        if time.monotonic() - self._told_s < TOLD_EVERY_S:
            return
        self._told_s = time.monotonic()
        failed = len(self._counted.failures)
        click.echo(f"[{self._counted.inputs}/{of}] {failed} failures", err=True)


def _deaf_to_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends its block and counts it


@click.command()
@click.option(
    "--seeds", type=click.IntRange(1), help="Per reader; 2000 where --inputs is not given."
)
@click.option("--inputs", type=click.IntRange(1), help="Of all readers, in turn, slow ones fewer.")
@click.option("--first", default=0, show_default=True, type=click.IntRange(0), help="First seed.")
@click.option(
    "--only", multiple=True, help="One reader; repeatable.", type=click.Choice(list(READERS))
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps what each reader had; the same command goes on from there.",
)
@click.option(
    "--minutes", default=600.0, show_default=True, type=click.FloatRange(0.1), help="For all."
)
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes that read."
)
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def session(
    seeds: int | None,
    inputs: int | None,
    first: int,
    only: tuple[str, ...],
    out: Path | None,
    minutes: float,
    jobs: int,
    is_json: bool,
) -> None:
    """Try every reader, or some, with so many inputs each or in all."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if seeds is not None and inputs is not None:
        raise click.UsageError("--seeds is for each reader, --inputs for all: give one of them")
    until_s = time.monotonic() + 60 * minutes
    readers, counted, code = only or tuple(READERS), Counted(out), 0
    aim = (seeds or 2000, None) if inputs is None else (None, inputs)
    campaign = Campaign(counted, jobs)
    try:
        if not campaign.run(readers, first, aim, until_s):
            click.echo(f"the {minutes:g} minutes are over; what is known so far:", err=True)
    except KeyboardInterrupt:
        code = ENDED_EARLY
        click.echo("stopped; what is known so far:", err=True)
    finally:
        campaign.close()
    _report(counted, readers, is_json)
    sys.exit(code or (1 if counted.failures else 0))


def _report(counted: Counted, readers: Sequence[str], is_json: bool) -> None:
    failures, rows = counted.failures, counted.table(readers)
    if is_json:
        told = {"inputs": counted.inputs, "readers": rows, "failures": list(map(asdict, failures))}
        click.echo(json.dumps(told, indent=1))
        return
    for name, row in rows.items():
        click.echo(f"{name:30} {row['inputs']:7} inputs, {row['failures']} failures")
    click.echo(f"{len(rows)} readers, {counted.inputs} inputs, {len(failures)} failures")
    for failure in failures:
        click.echo(failure.line())


if __name__ == "__main__":
    session()
