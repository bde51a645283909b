"""What making contributions again finds: which lies, at what cost, and how far honest machines of other classes lie apart.

Parts: `caught` (every lie of `replay_lies`, looked at by the auditor that runs have), `apart` (the same contribution by other
threads and other vectors of the same processor), `measure`.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from archipel.bench.replay_ground import CPU, Ground, Made, Plan
from archipel.bench.replay_lies import HONEST, LIES
from archipel.records.kinds.inner_step import InnerStepAnswer
from archipel.records.measures import NANO
from archipel.training.inner.state import machine_class

CHILD_LIMIT_S = 900.0
"""On a busy machine, a process takes minutes to load the tensor library."""


@dataclass(frozen=True)
class Caught:
    """What an auditor of the same class of machine says of one lie, and how far it is from what is right."""

    lie: str
    seed: int
    what: str
    """What differs first; empty: nothing does."""
    after: int
    """Inner steps, of the contribution's."""
    steps: int
    apart_nano: int


@dataclass(frozen=True)
class Apart:
    """An honest contribution of another class of machine."""

    machine: str
    seed: int
    codec: str
    optimiser: str
    is_equal: bool
    apart_nano: int


@dataclass(frozen=True)
class Measurement:
    """All of it."""

    plan: Plan
    machine: str
    caught: list[Caught] = field(default_factory=list)
    apart: list[Apart] = field(default_factory=list)


def caught(plan: Plan, seed: int) -> Iterator[Caught]:
    """Every lie, and nobody's."""
    ground = Ground(plan, seed, plan.codecs[-1], plan.optimisers[0])
    for lie in (HONEST, *LIES):
        made = ground.contribution(0, lie)
        found = ground.look(0, made).difference
        yield Caught(
            lie.name,
            seed,
            "" if found is None else found.what,
            plan.steps if found is None else found.position,
            plan.steps,
            ground.apart_nano(0, made),
        )


def apart(plan: Plan, seed: int, folder: Path) -> Iterator[Apart]:
    """The same contribution, made by other threads, and by a process with plainer vectors."""
    for codec in plan.codecs:
        for optimiser in plan.optimisers:
            ground = Ground(plan, seed, codec, optimiser)
            for machine, made in _elsewhere(ground, folder):
                is_equal = made.payload == ground.contribution(0).payload
                nano = ground.apart_nano(0, made)
                yield Apart(machine, seed, codec, optimiser, is_equal, nano)


def _elsewhere(ground: Ground, folder: Path) -> Iterator[tuple[str, Made]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        made, name = ground.contribution(0), machine_class(CPU)
    finally:
        torch.set_num_threads(threads)
    yield name, made
    if ground.plan.vectors:
        made = _by_a_child(ground, folder)
        yield str(made.answer.machine), made


def _by_a_child(ground: Ground, folder: Path) -> Made:
    """By a process that uses none of the processor's wide vectors.

    Raises:
        OSError: it did not come to its end.
    """
    path, plan = folder / "payload", ground.plan
    said = [ground.pace.payload.codec, ground.pace.inner.optimiser, ground.seed, plan.steps]
    said += [plan.commit_every, plan.batch, plan.sequence_length, plan.hidden_size, plan.num_layers]
    line = [sys.executable, "-m", "archipel.bench.replay_child", str(path), *map(str, said)]
    environment = {
        "ATEN_CPU_CAPABILITY": "default",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "PYTHONPATH": ":".join(sys.path),
    }
    try:
        subprocess.run(  # noqa: S603  our own module
            line, env=environment, timeout=CHILD_LIMIT_S, check=True
        )
    except subprocess.SubprocessError as error:
        raise OSError(f"no contribution by a process with plainer vectors: {error}") from None
    answer = InnerStepAnswer.model_validate_json(path.with_suffix(".json").read_bytes())
    return Made(answer, path.read_bytes())


def begun(plan: Plan) -> Measurement:
    """Nothing measured yet."""
    return Measurement(plan, machine_class(CPU))


def measure(found: Measurement, tell: Callable[[str], None]) -> None:
    """Add what its plan asks for, row by row."""
    plan = found.plan
    with TemporaryDirectory() as folder:
        for seed in plan.seeds:
            for one in caught(plan, seed):
                found.caught.append(one)
                tell(f"seed {seed}: {one.lie}: {one.what or 'nothing differs'}")
            for other in apart(plan, seed, Path(folder)):
                found.apart.append(other)
                tell(f"seed {seed}: {other.machine}, {other.codec}: {other.apart_nano / NANO:.3g}")
