"""The ways of `bench adapt` as loops: one optimiser over all the text, or members whose contributions are merged.

Parts: `Ran`, `train`. A member is made anew for each of its works and takes up its state from its folder, as in a process
that a node starts; so one network and one optimiser are in memory, however many members there are.
Law: what is sent are the payloads of a run, and what is merged is merged by its `merge`; the loss gate is left out, because
everybody here is honest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from archipel.bench.adapt_ground import Ground
from archipel.bench.adapt_plan import FLOAT32, Way
from archipel.training.exchange import codec_of, with_feedback
from archipel.training.exchange.codec import Tensors
from archipel.training.inner.member import Member
from archipel.training.inner.terms import InnerTerms
from archipel.training.inner.windows import Windows
from archipel.training.merging.contributions import Contribution
from archipel.training.merging.merge import merge

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One training run."""

    way: Way
    rate: float
    seed: int
    first: int
    """Version whose works come first; those of trials come after the run's."""
    versions: int


@dataclass(frozen=True)
class Ran:
    """What it came to."""

    weights: Tensors
    tokens: int
    up: tuple[int, ...]
    """Bytes sent by each member."""
    down: tuple[int, ...]


def train(ground: Ground, job: Job, folder: Path, tell: Tell) -> Ran:
    """Train from the ground's first weights on. folder: where members keep their state meanwhile."""
    if job.way.kind == "members":
        with TemporaryDirectory(dir=folder, prefix="members-") as place:
            return _by_members(ground, job, Path(place), tell)
    return _by_one(ground, job, tell)


def _by_one(ground: Ground, job: Job, tell: Tell) -> Ran:
    """One optimiser. Of a central run, bytes are those of synchronous data parallel: gradients as float32, every step."""
    plan, way = ground.plan, job.way
    terms = plan.inner(way, job.rate, job.versions)
    is_central = way.kind == "central"
    member = Member(ground.network, terms, on_step=_progress(terms, 0, way.name, tell))
    trained = member.train(ground.start, _batches(ground, job), 0, terms.total_steps)
    weights = {name: each - trained.delta[name] for name, each in ground.start.items()}
    sent = terms.total_steps * codec_of(FLOAT32).size(ground.shapes) if is_central else 0
    each_way = (sent,) * (plan.members if is_central else 1)
    return Ran(weights, trained.tokens, each_way, each_way)


def _batches(ground: Ground, job: Job) -> Iterator[Windows]:
    """Of each step of one optimiser."""
    for version in range(job.first, job.first + job.versions):
        if job.way.kind == "central":
            yield from ground.together(job.seed, version)
            continue
        for index in range(ground.plan.members if job.way.kind == "alone" else 1):
            yield from ground.work(job.seed, version, index)


def _by_members(ground: Ground, job: Job, folder: Path, tell: Tell) -> Ran:
    plan = ground.plan
    base, memory = ground.start, dict[str, np.ndarray]()
    tokens, up, down = 0, [0] * plan.members, [0] * plan.members
    version_bytes = codec_of(FLOAT32).size(ground.shapes)
    for number in range(job.versions):
        sent = [
            _contribution(ground, job, base, (number, index), folder / str(index), tell)
            for index in range(plan.members)
        ]
        made = merge(base, memory, sent, job.way.merging)
        base, memory = made.weights, made.memory
        sizes = [len(each.payload) for each in sent]
        tokens += sum(each.tokens for each in sent)
        for index, size in enumerate(sizes):
            up[index] += size
            down[index] += min(version_bytes, sum(sizes) - size)
        tell(f"{job.way.name}: version {number + 1} of {job.versions} merged")
    return Ran(base, tokens, tuple(up), tuple(down))


def _contribution(
    ground: Ground, job: Job, base: Tensors, place: tuple[int, int], folder: Path, tell: Tell
) -> Contribution:
    """What one member answers to one work. place: number of the version in this job, and index."""
    plan, way, (number, index) = ground.plan, job.way, place
    terms, first = plan.inner(way, job.rate, job.versions), number * plan.every
    who = f"{way.name}: member {index}"
    member = Member(ground.network, terms, folder, _progress(terms, first, who, tell))
    batches = ground.work(job.seed, job.first + number, index)
    trained = member.train(base, batches, first, plan.every, work=f"{number}-{index}")
    codec, decay = codec_of(way.codec), way.codec.error_feedback
    if decay is None:
        payload, residual = codec.encode(trained.delta), None
    else:
        payload, residual = with_feedback(member.residual or None, trained.delta, codec, decay)
    member.keep(residual)
    return Contribution(f"member {index}", index, payload, trained.tokens, plan.every)


def _progress(terms: InnerTerms, first: int, who: str, tell: Tell) -> Callable[[int, float], None]:
    return lambda done, loss: tell(
        f"{who}, step {first + done} of {terms.total_steps}, loss {loss:.3f}"
    )
