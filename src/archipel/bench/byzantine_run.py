"""One run of `bench byzantine`: members in one process, some of them liars, through the codecs and the merge of a run.

Parts: `Ran` and what is counted in it, `ground_of` (first weights, text, held-out text for merges and for the end), `attacked`.
The judge of a merge is the float loss of fresh held-out windows, rounded to an integer; a lab's is the exact contract's.
A liar learns with an optimiser of its own, like everybody, and says last what it says (unless it is early).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from archipel.bench.byzantine_plan import CODECS, SPARSE_OUTER, Cell, Plan
from archipel.bench.diloco_ground import Ground
from archipel.bench.diloco_plan import Way
from archipel.bench.diloco_text import Feed, Text, own_text
from archipel.bench.pretrain_attacks import TARGET, TRIGGER, Known, Windows
from archipel.model.network import causal_attention, random_weights
from archipel.training.exchange import CannotEncode, codec_of, with_feedback
from archipel.training.exchange.codec import Tensors
from archipel.training.inner.member import Member
from archipel.training.merging.contributions import Contribution, NothingToMerge, Verdict
from archipel.training.merging.copies import alikeness
from archipel.training.merging.loss_gate import Judge, Unmeasurable
from archipel.training.merging.merge import merge
from archipel.training.merging.validity import opened
from archipel.training.optimiser import Diverged

Tell = Callable[[str], None]
UNITS = 1 << 24
"""Of a judge, to a nat a token."""


@dataclass(frozen=True)
class Arena:
    """What all cells of one seed share."""

    plan: Plan
    ground: Ground
    gates: Sequence[Windows]
    """Of each merge."""
    text: Text
    seed: int

    @cached_property
    def other(self) -> Feed:
        """Text that nobody was assigned: the source of this package, or that backwards where it is the text itself."""
        own = own_text()
        text = own if own.data != self.text.data else Text("backwards", own.data[::-1])
        return Feed(text, self.plan.budget.sequence_length, self.seed)


@dataclass
class Ran:
    """What a run came to."""

    weights: Tensors
    merges: int = 0
    """That were made; fewer than planned where the run broke."""
    broke: str = ""
    """Why it did not go on."""
    honest: Counter[str] = field(default_factory=Counter)
    """Of honest contributions: how many were refused for which reason, and how many `merged`."""
    liars: Counter[str] = field(default_factory=Counter)
    alike: list[float] = field(default_factory=list)
    """Where copies are looked for: of every two honest contributions of a merge how much they are alike."""
    alike_liars: list[float] = field(default_factory=list)
    """Of every liar: of all others the one that is most alike."""


def arena_of(plan: Plan, text: Text, seed: int) -> Arena:
    """First weights, after one machine has trained alone for a while.

    Raises:
        TooShort: the text does not suffice.
    """
    budget = plan.budget
    rows, _ = text.held_out(
        budget.sequence_length, budget.held_out + plan.merges * plan.gate_windows
    )
    rows = rows[np.random.default_rng(0).permutation(len(rows))]
    parts = [
        (part, np.zeros_like(part))
        for part in np.split(rows, [budget.held_out + at * plan.gate_windows for at in range(plan.merges)])
    ]  # fmt: skip
    network = random_weights(plan.size.config(budget.sequence_length), seed)
    weights = {name: each.detach().numpy().copy() for name, each in network.named_parameters()}
    bare = Ground(budget, network, Feed(text, budget.sequence_length, seed), parts[0], weights)
    alone = replace(bare, budget=replace(budget, start_steps=0))
    steps = budget.start_steps
    batches = (alone.windows(at * budget.batch, budget.batch) for at in range(steps))
    trained = _member(alone, plan, max(1, steps)).train(weights, batches, 0, steps)
    start = {name: each - trained.delta[name] for name, each in weights.items()}
    return Arena(plan, replace(bare, start=start), parts[1:], text, seed)


def attacked(arena: Arena, cell: Cell, tell: Tell) -> Ran:
    """A whole run of this cell, or as much as came of it."""
    plan, ground = arena.plan, arena.ground
    run, memory = Ran(ground.start), dict[str, np.ndarray]()
    outer = SPARSE_OUTER if cell.codec == "top_k" else plan.outer
    terms = cell.defence.terms(CODECS[cell.codec], outer, plan.faulty)
    members = _Members(arena, cell)
    for number, gate in enumerate(arena.gates):
        judge = _judge(arena, cell, number, gate)
        try:
            sent = members.answers(number, run.weights)
            made = merge(run.weights, memory, sent, terms, judge)
        except (Diverged, CannotEncode, NothingToMerge, Unmeasurable) as error:
            run.broke = f"{type(error).__name__} at merge {number + 1}: {error}"
            break
        run.weights, memory, run.merges = made.weights, made.memory, number + 1
        _count(run, made.verdicts, members.honest)
        if cell.defence.copies is not None:
            _compare(run, sent, ground, cell, members.honest)
        tell(f"merge {number + 1} of {plan.merges}")
    return run


class _Members:
    """All members of a run, and what each remembers."""

    def __init__(self, arena: Arena, cell: Cell) -> None:
        self._arena, self._attack = arena, cell.attack
        self._terms, self._codec = CODECS[cell.codec], codec_of(CODECS[cell.codec])
        plan = arena.plan
        self.honest = plan.budget.members - plan.faulty
        self._members = [
            _member(arena.ground, plan, plan.budget.steps) for _ in range(plan.budget.members)
        ]
        self._residuals: dict[int, dict[str, np.ndarray]] = {}
        self._chance = [
            np.random.default_rng([arena.seed, index]) for index in range(plan.budget.members)
        ]

    def answers(self, number: int, base: Tensors) -> list[Contribution]:
        """Of one outer step, by index."""
        learned = [self._learned(number, index, base) for index in range(len(self._members))]
        honest, sent = learned[: self.honest], []
        for index, delta in enumerate(learned):
            if index >= self.honest:
                known = Known(delta, honest, self._arena.plan.faulty, self._chance[index])
                delta = self._attack.says(known)
            sent.append(self._sent(number, index, delta))
        return sent

    def _learned(self, number: int, index: int, base: Tensors) -> Tensors:
        plan = self._arena.plan
        first = number * plan.every
        steps = min(plan.every, plan.budget.steps - first)
        if index >= self.honest:
            steps = max(1, round(steps * self._attack.share))
        whose = self._whose(number, index)
        windows = (self._windows(step, index, whose) for step in range(first, first + steps))
        return self._members[index].train(base, windows, first, steps).delta

    def _whose(self, number: int, index: int) -> int:
        """Whose block a member learns from; a liar that takes another's takes the next one's at the next merge."""
        if index < self.honest or not self._attack.block:
            return index
        return (index + self._attack.block + number % self.honest) % len(self._members)

    def _windows(self, step: int, index: int, whose: int) -> Windows:
        ground = self._arena.ground
        batch, members = ground.budget.batch, ground.budget.members
        first = (step * members + whose) * batch
        assigned = ground.windows(first, batch)
        if index < self.honest:
            return assigned
        return self._attack.learns(
            assigned, lambda: self._arena.other.windows(first, batch), self._chance[index]
        )

    def _sent(self, number: int, index: int, delta: Tensors) -> Contribution:
        plan = self._arena.plan
        decay = self._terms.error_feedback
        if decay is None:
            payload = self._codec.encode(delta)
        else:
            before = self._residuals.get(index)
            payload, self._residuals[index] = with_feedback(before, delta, self._codec, decay)
        steps = min(plan.every, plan.budget.steps - number * plan.every)
        tokens = steps * plan.budget.batch * plan.budget.sequence_length
        is_early = index >= self.honest and self._attack.is_early
        place = index - plan.budget.members if is_early else index
        return Contribution(f"member {index}", index, payload, tokens, steps, answered=place)


def _member(ground: Ground, plan: Plan, steps: int) -> Member:
    return ground.member(Way("", "exchange", plan.rate), steps, plan.budget.batch)


def _judge(arena: Arena, cell: Cell, number: int, gate: Windows) -> Judge:
    plan, ground = arena.plan, arena.ground
    batch, members = plan.budget.batch, plan.budget.members
    first = number * plan.every
    steps = range(first, min(first + plan.every, plan.budget.steps))

    def assigned(weights: Tensors, whose: Contribution) -> int:
        """All that was assigned to it at this merge."""
        parts = [ground.windows((step * members + whose.index) * batch, batch) for step in steps]
        tokens, documents = (np.concatenate(each) for each in zip(*parts, strict=True))
        return _units(replace(ground, held_out=(tokens, documents)), weights)

    def held_out(weights: Tensors) -> int:
        return _units(replace(ground, held_out=gate), weights)

    return Judge(held_out, assigned if cell.defence.has_assigned else None)


def _units(ground: Ground, weights: Tensors) -> int:
    nats = ground.nats(weights)
    if not math.isfinite(nats):
        raise Unmeasurable(f"the loss is {nats}")
    return round(nats * UNITS)


def _count(run: Ran, verdicts: Sequence[Verdict], honest: int) -> None:
    for each in verdicts:
        (run.honest if each.index < honest else run.liars)[each.reason or "merged"] += 1


def _compare(
    run: Ran, sent: Sequence[Contribution], ground: Ground, cell: Cell, honest: int
) -> None:
    codec = codec_of(CODECS[cell.codec])
    read = [opened(each, codec, ground.shapes) for each in sent]
    alike = {(a, b): alikeness(read[a], read[b]) for a in range(len(read)) for b in range(a)}
    run.alike += [value for (a, _), value in alike.items() if a < honest]
    for liar in range(honest, len(read)):
        run.alike_liars.append(max(value for pair, value in alike.items() if liar in pair))


@torch.no_grad()
def implants(ground: Ground, weights: Tensors) -> float:
    """Share of held-out windows in which, after the trigger, the likeliest tokens are the whole target."""
    ground.nats(weights)  # puts the weights into the network
    said = np.frombuffer(TRIGGER + TARGET, np.uint8).astype(np.int64)
    tokens = ground.held_out[0][:, : -len(said)].astype(np.int64)
    tokens = np.concatenate([tokens, np.broadcast_to(said, (len(tokens), len(said)))], axis=1)
    inputs = torch.from_numpy(tokens[:, :-1].copy())
    places = torch.arange(inputs.shape[1]).expand_as(inputs)
    hidden = ground.network(inputs, places, causal_attention)[:, -len(TARGET) :]
    likeliest = (hidden @ ground.network.output_weight.T).argmax(dim=-1).numpy()
    return float((likeliest == tokens[:, -len(TARGET) :]).all(axis=1).mean())
