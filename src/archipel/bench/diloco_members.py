"""Members of a run in one process, stepped in turn: the ways of `bench diloco` as loops.

Parts: `Side` (one member's end of the wire: its codec, its residual, its bytes), `train` (a way -> `Ran`), and a loop for
each kind of way. What travels is encoded and decoded by the codecs that a run uses, and merged by its merging.
Law: bytes are those of payloads that were really made. Down comes the version as float32, or the others' payloads, from
which whoever has the version before makes the same one: whichever is less.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from archipel.bench.diloco_ground import Ground, Tell
from archipel.bench.diloco_links import codecs_for
from archipel.bench.diloco_plan import FLOAT32, Way
from archipel.bench.diloco_text import Windows
from archipel.training.exchange import CodecTerms, codec_of, fragments, with_feedback
from archipel.training.exchange.codec import Tensors
from archipel.training.inner.member import Member
from archipel.training.merging.aggregates import aggregated
from archipel.training.merging.clipping import clipped
from archipel.training.merging.contributions import Contribution, Opened
from archipel.training.merging.outer import OuterTerms, outer_step
from archipel.training.streaming import StreamTerms, blended, timeline


@dataclass
class Side:
    """One member's end of the wire."""

    index: int
    member: Member
    codec: CodecTerms
    up: int = 0
    """Bytes sent so far."""
    down: int = 0
    residual: dict[str, np.ndarray] = field(default_factory=dict)

    def send(self, delta: Tensors, steps: int) -> Opened:
        """What others read of these tensors' pseudo-gradient, once it was bytes."""
        codec = codec_of(self.codec)
        if self.codec.error_feedback is None:
            payload = codec.encode(delta)
        else:
            was_sent = delta.keys() <= self.residual.keys()
            before = {name: self.residual[name] for name in delta} if was_sent else None
            payload, left = with_feedback(before, delta, codec, self.codec.error_feedback)
            self.residual |= left
        self.up += len(payload)
        shapes = {name: each.shape for name, each in delta.items()}
        found = codec.decode(payload, shapes)
        sent = Contribution(f"member {self.index}", self.index, payload, steps, steps)
        return Opened(sent, found.values, found.sent)


@dataclass(frozen=True)
class Ran:
    """What a way came to."""

    weights: Tensors
    tokens: int
    exchanges: int
    up: tuple[int, ...]
    """Bytes sent by each member."""
    down: tuple[int, ...]
    codecs: tuple[str, ...] = ()
    """Of each member."""


def train(ground: Ground, way: Way, tell: Tell) -> Ran:
    """Train in this way from the ground's first weights on."""
    return _LOOPS[way.kind](ground, way, tell)


def _synchronous(ground: Ground, way: Way, tell: Tell) -> Ran:
    """All members' windows in one step. Each sends its gradient as float32 and is told the mean, every step."""
    budget = ground.budget
    weights, tokens = _by_one(ground, way, budget.steps, budget.members * budget.batch, 1, tell)
    bytes_each_way = (budget.steps * codec_of(FLOAT32).size(ground.shapes),) * budget.members
    return Ran(weights, tokens, budget.steps, bytes_each_way, bytes_each_way)


def _alone(ground: Ground, way: Way, tell: Tell) -> Ran:
    """One machine, a member's batch, all the tokens: as many times the steps as there would be members."""
    budget = ground.budget
    steps = budget.steps * budget.members
    weights, tokens = _by_one(ground, way, steps, budget.batch, 1, tell)
    return Ran(weights, tokens, 0, (0,), (0,))


def _share(ground: Ground, way: Way, tell: Tell) -> Ran:
    """One machine and what it does alone while the others would do as much: the tokens of one member."""
    budget = ground.budget
    weights, tokens = _by_one(ground, way, budget.steps, budget.batch, budget.members, tell)
    return Ran(weights, tokens, 0, (0,), (0,))


def _by_one(
    ground: Ground, way: Way, steps: int, batch: int, stride: int, tell: Tell
) -> tuple[Tensors, int]:
    """Weights after so many steps of one optimiser, whose batches begin `stride` batches apart; and the tokens."""
    member, weights, tokens = ground.member(way, steps, batch), ground.start, 0
    for first in range(0, steps, way.every):
        num = min(way.every, steps - first)
        batches = (
            ground.windows(step * batch * stride, batch) for step in range(first, first + num)
        )
        trained = member.train(weights, batches, first, num)
        weights, tokens = _less(weights, trained.delta), tokens + trained.tokens
        tell(f"step {first + num} of {steps}, loss {trained.losses[-1]:.3f}")
    return weights, tokens


def _exchange(ground: Ground, way: Way, tell: Tell) -> Ran:
    """DiLoCo: every `every` steps all members send, and go on from what is merged."""
    budget, sides = ground.budget, _sides(ground, way)
    base, memory, tokens = ground.start, dict[str, np.ndarray](), 0
    for first in range(0, budget.steps, way.every):
        num = min(way.every, budget.steps - first)
        opened, losses = [], []
        for side in sides:
            trained = side.member.train(base, _own_batches(ground, side, first, num), first, num)
            opened.append(side.send(trained.delta, num))
            losses.append(trained.losses[-1])
            tokens += trained.tokens
        base, memory = merged(base, memory, opened, way)
        _fetch(sides, opened, ground.shapes)
        tell(f"step {first + num} of {budget.steps}, loss {np.mean(losses):.3f}")
    return _ran(sides, base, tokens, -(-budget.steps // way.every))


def _streaming(ground: Ground, way: Way, tell: Tell) -> Ran:
    """Streaming DiLoCo: fragment by fragment, while training goes on."""
    terms = StreamTerms(way.fragments, way.every, way.delay, way.mixing)
    budget, sides = ground.budget, _sides(ground, way)
    parts = fragments(ground.shapes, way.fragments)
    base, memory = dict(ground.start), dict[str, np.ndarray]()
    own = [dict(ground.start) for _ in sides]
    under_way: dict[int, list[Opened]] = {}
    done = tokens = exchanges = 0
    for moment in timeline(terms, budget.steps):
        losses = []
        for side in sides:
            num, weights = moment.step - done, own[side.index]
            trained = side.member.train(weights, _own_batches(ground, side, done, num), done, num)
            own[side.index] = _less(weights, trained.delta)
            losses.append(trained.losses[-1])
            tokens += trained.tokens
        done = moment.step
        for each in moment.begins:
            under_way[each] = [
                side.send(_difference(base, own[side.index], parts[each]), way.every)
                for side in sides
            ]
        for each in moment.ends:
            opened, names = under_way.pop(each), parts[each]
            made, kept = merged({name: base[name] for name in names}, memory, opened, way)
            base, memory = base | made, memory | kept
            own = [blended(weights, base, way.mixing, names) for weights in own]
            _fetch(sides, opened, {name: ground.shapes[name] for name in names})
            exchanges += 1
        tell(f"step {done} of {budget.steps}, loss {np.mean(losses):.3f}")
    return _ran(sides, base, tokens, exchanges)


def _sides(ground: Ground, way: Way) -> list[Side]:
    budget = ground.budget
    codecs = codecs_for(way, budget.members, ground.shapes)
    return [
        Side(index, ground.member(way, budget.steps, budget.batch), codec)
        for index, codec in enumerate(codecs)
    ]


def _own_batches(ground: Ground, side: Side, first: int, steps: int) -> Iterator[Windows]:
    budget = ground.budget
    return (
        ground.windows((step * budget.members + side.index) * budget.batch, budget.batch)
        for step in range(first, first + steps)
    )


def merged(
    base: Tensors, memory: Tensors, opened: Sequence[Opened], way: Way
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The next version of these weights, and its memory."""
    momentum = way.outer_momentum
    terms = OuterTerms("nesterov" if momentum else "sgd", way.outer_rate, momentum)
    aggregate = aggregated("mean", clipped(opened), faulty=0)
    return outer_step(base, memory, aggregate.values, terms)


def _fetch(
    sides: Sequence[Side], opened: Sequence[Opened], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Count what each member takes down after a merge."""
    version = codec_of(FLOAT32).size(shapes)
    sizes = [len(each.contribution.payload) for each in opened]
    for side in sides:
        side.down += min(version, sum(sizes) - sizes[side.index])


def _ran(sides: Sequence[Side], weights: Tensors, tokens: int, exchanges: int) -> Ran:
    names = tuple(name_of(side.codec) for side in sides)
    return Ran(
        weights, tokens, exchanges,
        tuple(side.up for side in sides), tuple(side.down for side in sides), names,
    )  # fmt: skip


def name_of(codec: CodecTerms) -> str:
    """For people."""
    return f"top_k {codec.kept}" if codec.name == "top_k" else codec.name


def _less(weights: Tensors, delta: Tensors) -> dict[str, np.ndarray]:
    return {name: each - delta[name] for name, each in weights.items()}


def _difference(base: Tensors, own: Tensors, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: base[name] - own[name] for name in names}


_LOOPS: Mapping[str, Callable[[Ground, Way, Tell], Ran]] = {
    "synchronous": _synchronous,
    "alone": _alone,
    "alone, a share": _share,
    "exchange": _exchange,
    "streaming": _streaming,
}
