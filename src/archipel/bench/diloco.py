"""Training across sites beside training in one place: loss over bytes, for the same tokens, first weights and text.

Members are held in one process and stepped in turn, through the very codecs and merging that a run uses; there is no lab.
Ways: synchronous data parallel; one machine with as many tokens; DiLoCo, with four codecs; SparseLoCo; Streaming DiLoCo;
unequal links. What it does not show: large models, long runs, text that differs from member to member, or seconds: those
of links are simulated, and those of the processor say how long the measurement took.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import torch

from archipel.bench.diloco_ground import Ground, Tell, ground_of
from archipel.bench.diloco_members import train
from archipel.bench.diloco_plan import RATES, SIZES, Plan, Way
from archipel.bench.diloco_text import Text
from archipel.bench.kept import Asked, Kept


@dataclass(frozen=True)
class Found:
    """What one way came to, with one size and seed."""

    nats: float
    """Held-out loss a byte."""
    start_nats: float
    """The same of the first weights."""
    tokens: int
    exchanges: int
    whole: int
    """Bytes of the weights as float32."""
    up: tuple[int, ...]
    """Bytes sent by each member."""
    down: tuple[int, ...]
    codecs: tuple[str, ...]
    processor_s: float


@dataclass(frozen=True)
class Row:
    """The same, and of what."""

    size: str
    seed: int
    way: Way
    found: Found


def measure(
    plan: Plan, text: Text, folder: Path, tell: Tell, on_row: Callable[[Row], None]
) -> list[Row]:
    """Every way that this folder does not have, size by size and seed by seed.

    Raises:
        NotOurs: the folder holds another's steps. TooShort: the text does not suffice.
    """
    torch.set_num_threads(1)
    kept, rows = Kept(folder), list[Row]()
    for size, seed in plan.grounds:
        place = folder / _start_file(plan, text, size, seed)
        ground = cache(partial(ground_of, text, size, seed, plan.budget, place))
        for number, way in enumerate(plan.ways_of(size), 1):
            said = f"{size} seed {seed}, way {number} of {len(plan.ways_of(size))}, {way.name}"

            def told(line: str, said: str = said) -> None:
                tell(f"{said}: {line}")

            asked = asked_of(plan, text, size, seed, way)
            found = kept.value(asked, Found, partial(_found, ground, way, told))
            rows.append(Row(size, seed, way, found))
            on_row(rows[-1])
    return rows


def asked_of(plan: Plan, text: Text, size: str, seed: int, way: Way) -> Asked:
    """All that a way's result follows from."""
    return {"part": "diloco", "way": asdict(way), **_begun(plan, text, size, seed)}


def _begun(plan: Plan, text: Text, size: str, seed: int) -> Asked:
    """All that the first weights and the text follow from."""
    return {
        "text": text.digest,
        "size": asdict(SIZES[size]),
        "seed": seed,
        "budget": asdict(plan.budget),
        "start_rate": RATES[size].start,
    }


def _start_file(plan: Plan, text: Text, size: str, seed: int) -> str:
    """Its steps are not those of another budget's start."""
    words = json.dumps(_begun(plan, text, size, seed), sort_keys=True)
    return f"start-{hashlib.sha256(words.encode()).hexdigest()[:16]}.safetensors"


def _found(ground: Callable[[], Ground], way: Way, tell: Tell) -> Found:
    on = ground()
    began = time.process_time()
    ran = train(on, way, tell)
    spent = time.process_time() - began
    return Found(
        nats=on.nats(ran.weights),
        start_nats=on.nats(on.start),
        tokens=ran.tokens,
        exchanges=ran.exchanges,
        whole=sum(each.nbytes for each in on.start.values()),
        up=ran.up,
        down=ran.down,
        codecs=ran.codecs,
        processor_s=spent,
    )


def sizes_of(rows: Sequence[Row]) -> list[str]:
    """In the order in which they were measured."""
    return list(dict.fromkeys(row.size for row in rows))
