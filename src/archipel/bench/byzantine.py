"""Held-out loss under every attack with every way of merging: who of the liars is refused, and who of the honest.

Members are held in one process and stepped in turn, through the very inner loop, codecs and merge that a run uses; there is
no lab. Parts: `Found`, `Row`, `measure`. What it does not show: large models, long runs, text that differs from member to
member (where honest contributions are less alike), liars that adapt over many merges.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from archipel.bench.byzantine_plan import DEFAULT, WITH_COPIES, Cell, Plan
from archipel.bench.byzantine_run import Arena, Tell, arena_of, attacked, implants
from archipel.bench.diloco_text import Text
from archipel.bench.kept import Asked, Kept


@dataclass(frozen=True)
class Found:
    """What one cell came to with one seed."""

    start_nats: float
    """Held-out loss a token of the first weights."""
    nats: float | None
    """Of the last; None: it is not finite."""
    implanted: float
    """Share of held-out windows in which the trigger brings the target."""
    merges: int
    broke: str
    honest: dict[str, int]
    """What became of honest contributions: `merged`, or why not."""
    liars: dict[str, int]
    alike: list[float]
    """Of two honest contributions: least, median, 99 of 100, most; empty where copies are not looked for."""
    alike_liars: list[float]
    """Of a liar's and what it is most alike to: least, median, most."""
    processor_s: float
    """0 where another cell had to come to the same."""


@dataclass(frozen=True)
class Row:
    """The same, and of what."""

    seed: int
    cell: Cell
    found: Found


def measure(
    plan: Plan, text: Text, folder: Path, tell: Tell, on_row: Callable[[Row], None]
) -> list[Row]:
    """Every cell that this folder does not have, seed by seed.

    Raises:
        NotOurs: the folder holds another's steps. TooShort: the text does not suffice.
    """
    torch.set_num_threads(1)
    kept, rows, cells = Kept(folder), list[Row](), list(plan.cells())
    by = dict[tuple[int, str, str], Found]()
    for seed in plan.seeds:
        arena = cache(partial(arena_of, plan, text, seed))
        for number, cell in enumerate(cells, 1):
            said = f"seed {seed}, cell {number} of {len(cells)}, {cell.attack.name} x {cell.defence.name}"

            def told(line: str, said: str = said) -> None:
                tell(f"{said}: {line}")

            asked = asked_of(plan, text, seed, cell)
            known = by.get((seed, cell.attack.name, WITH_COPIES.name))
            found = kept.value(asked, Found, partial(_found, arena, cell, known, told))
            by[seed, cell.attack.name, cell.defence.name] = found
            rows.append(Row(seed, cell, found))
            on_row(rows[-1])
    return rows


def asked_of(plan: Plan, text: Text, seed: int, cell: Cell) -> Asked:
    """All that a cell's result follows from."""
    shared = asdict(plan)
    for name in ("seeds", "attacks", "defences", "codec"):
        del shared[name]
    return {"part": "byzantine", "text": text.digest, "seed": seed, **shared, **cell.asked()}


def _found(arena: Callable[[], Arena], cell: Cell, with_copies: Found | None, tell: Tell) -> Found:
    if cell.defence == DEFAULT and with_copies is not None and not _has_copies(with_copies):
        return replace(with_copies, alike=[], alike_liars=[], processor_s=0.0)
    on = arena()
    began = time.process_time()
    ran = attacked(on, cell, tell)
    nats = on.ground.nats(ran.weights)
    spent = time.process_time() - began
    return Found(
        start_nats=on.ground.nats(on.ground.start),
        nats=nats if math.isfinite(nats) else None,
        implanted=implants(on.ground, ran.weights),
        merges=ran.merges,
        broke=ran.broke[:300],
        honest=dict(ran.honest),
        liars=dict(ran.liars),
        alike=_at(ran.alike, (0, 50, 99, 100)),
        alike_liars=_at(ran.alike_liars, (0, 50, 100)),
        processor_s=spent,
    )


def _has_copies(found: Found) -> bool:
    """Where none was found, a merge that does not look for any is the same one, bit for bit."""
    return "copy" in found.honest or "copy" in found.liars


def _at(values: list[float], percents: tuple[int, ...]) -> list[float]:
    return [float(each) for each in np.percentile(values, percents)] if values else []
