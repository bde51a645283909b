"""Sequences of unequal length into rows of tensors, with little padding and no repeated prompt.

Parts: `Tree` (a prompt and its branches), `plan` (trees into rows, rows into micro-batches),
`build` (rows into a `Batch`), `row_attention` (who may see whom).
Completions of one prompt share it: the prompt goes through the network once, and each completion
attends to it and to itself. For 8 short answers to one question this halves the work. Long
completions are laid out one to a tree, because a row's attention costs its length squared.
Law: packing changes the cost, never the result (up to the order of float additions).
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from archipel.model.network import Attention, causal_attention, masked_attention
from archipel.records.experts import OPEN
from archipel.records.rollouts import Rollout
from archipel.training.batch import Batch, Group
from archipel.training.branches import Branch, branches_of, num_valid, usable

SHARED_ROW_TOKENS = 256
"""Completions share a prompt while the row stays this short."""


@dataclass(frozen=True)
class Tree:
    """One prompt and the branches that are laid out after it."""

    prompt: tuple[int, ...]
    branches: tuple[Branch, ...]
    experts: bytes | None = None
    """Of the prompt's tokens; those of its branches are of as many bytes a token."""

    @property
    def num_inputs(self) -> int:
        """Places it takes in a row: a branch's last token is a target only."""
        return len(self.prompt) + sum(len(each.tokens) - 1 for each in self.branches)


Row = tuple[Tree, ...]


def trees_of(group: Group, advantages: Sequence[float], longest_row: int) -> list[Tree]:
    """The group's rollouts, sharing their prompt while a row holds at most `longest_row`; further samples of an
    episode, each of which has a prompt of its own, come after them.
    """
    trees: list[Tree] = []
    further: list[Tree] = []
    room = 0
    for rollout, advantage in zip(group.rollouts, advantages, strict=True):
        before, own = _parted(rollout, len(group.prompt))
        (_, branch), *later = branches_of(group.prompt, rollout, advantage, own)
        further += [Tree(prompt, (each,)) for prompt, each in later]
        if not branch.scored:
            continue
        needed = len(branch.tokens) - 1
        if trees and needed <= room and before == trees[-1].experts:
            trees[-1] = replace(trees[-1], branches=(*trees[-1].branches, branch))
        else:
            trees.append(Tree(group.prompt, (branch,), before))
            room = longest_row - len(group.prompt)
        room -= needed
    return trees + further


def _parted(rollout: Rollout, prompt: int) -> tuple[bytes | None, bytes | None]:
    """A rollout's choices of experts: of its prompt's tokens, and of its own."""
    if rollout.experts is None:
        return None, None
    per_token = len(rollout.experts) // (prompt + len(rollout.tokens) - 1)
    return rollout.experts[: prompt * per_token], rollout.experts[prompt * per_token :]


def plan(trees: Sequence[Tree], budget: int, *, alone: bool = False) -> list[list[Row]]:
    """Micro-batches of rows; rows times their longest is at most `budget` tokens, or one row.

    alone: each tree has a row of its own, for a network that cannot be told who sees whom.

    Trees go, longest first, into the fullest row that still has room (best fit decreasing), a row
    being as wide as the longest tree. The result depends on the trees and their order alone.
    """
    filled = [(tree,) for tree in trees] if alone else _best_fit(trees)
    rows = sorted(filled, key=_row_length, reverse=True)
    micro_batches: list[list[Row]] = []
    for row in rows:
        width = _row_length(micro_batches[-1][0]) if micro_batches else math.inf
        if micro_batches and (len(micro_batches[-1]) + 1) * width <= budget:
            micro_batches[-1].append(row)
        else:
            micro_batches.append([row])
    return micro_batches


def _row_length(row: Row) -> int:
    return sum(tree.num_inputs for tree in row)


def _best_fit(trees: Sequence[Tree]) -> list[Row]:
    ordered = sorted(trees, key=lambda tree: tree.num_inputs, reverse=True)
    width = ordered[0].num_inputs
    rows: list[list[Tree]] = []
    room: list[tuple[int, int]] = []  # (free places, row number), ascending
    for tree in ordered:
        needed = tree.num_inputs
        at = bisect_left(room, (needed, -1))
        if at < len(room):
            free, number = room.pop(at)
            rows[number].append(tree)
        else:
            free, number = width, len(rows)
            rows.append([tree])
        insort(room, (free - needed, number))
    return [tuple(row) for row in rows]


def count_sampled(trees: Sequence[Tree]) -> int:
    """Sampled tokens, usable or not."""
    return sum(len(branch.scored) for tree in trees for branch in tree.branches)


def count_valid(trees: Sequence[Tree]) -> int:
    """Sampled tokens with a usable behaviour log-probability."""
    return sum(num_valid(branch) for tree in trees for branch in tree.branches)


@dataclass
class _Streams:
    """Growing columns of one batch."""

    tokens: list[list[int]] = field(default_factory=list)
    positions: list[list[int]] = field(default_factory=list)
    segments: list[list[int]] = field(default_factory=list)
    parents: list[list[int]] = field(default_factory=list)
    predictors: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    behaviour: list[float] = field(default_factory=list)
    advantages: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    num_branches: int = 0
    experts: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    """(row, first place, tokens, choices) of stretches whose experts are known."""

    def open_row(self) -> None:
        for column in (self.tokens, self.positions, self.segments, self.parents):
            column.append([])

    def add_stretch(
        self, tokens: tuple[int, ...], start: int, parent: int | None, experts: bytes | None
    ) -> int:
        """Lay tokens out as a new segment; returns its number."""
        if experts:
            place = (len(self.tokens) - 1, len(self.tokens[-1]), len(tokens), experts)
            self.experts.append(place)
        segment = self.segments[-1][-1] + 1 if self.segments[-1] else 0
        self.tokens[-1].extend(tokens)
        self.positions[-1].extend(range(start, start + len(tokens)))
        self.segments[-1].extend([segment] * len(tokens))
        self.parents[-1].extend([segment if parent is None else parent] * len(tokens))
        return segment

    def add_targets(self, branch: Branch, places: list[int]) -> None:
        scored = branch.scored
        self.predictors.extend(places[place] for place in scored)
        self.targets.extend(branch.tokens[place] for place in scored)
        self.behaviour.extend(branch.behaviour_logprobs[place] for place in scored)
        self.advantages.extend([branch.advantage] * len(scored))
        self.weights.extend([branch.weight] * len(scored))
        self.sequences.extend([self.num_branches] * len(scored))
        self.num_branches += 1


def build(rows: Sequence[Row]) -> Batch:
    """Lay rows out as tensors, padded to the longest of them."""
    width = max(_row_length(row) for row in rows)
    streams = _Streams()
    for number, row in enumerate(rows):
        streams.open_row()
        for tree in row:
            _lay_out(tree, number * width, streams)
    behaviour_N = torch.tensor(streams.behaviour, dtype=torch.float32)
    mask_N = torch.tensor([usable(logprob) for logprob in streams.behaviour])
    return Batch(
        tokens_BT=_padded(streams.tokens, width, 0),
        positions_BT=_padded(streams.positions, width, 0),
        segments_BT=_padded(streams.segments, width, -1),
        parents_BT=_padded(streams.parents, width, -1),
        chains=all(len(row) == 1 and len(row[0].branches) == 1 for row in rows),
        predictors_N=torch.tensor(streams.predictors),
        targets_N=torch.tensor(streams.targets),
        behaviour_logprobs_N=behaviour_N.masked_fill(~mask_N, 0.0),
        advantages_N=torch.tensor(streams.advantages, dtype=torch.float32),
        weights_N=mask_N.float() * torch.tensor(streams.weights, dtype=torch.float32),
        sequences_N=torch.tensor(streams.sequences).masked_fill(~mask_N, -1),
        mask_N=mask_N,
        experts_BTC=_choices(streams, width),
    )


def muted(batch: Batch) -> Batch:
    """The same rows with no token that counts: for a rank that has no rows of its own."""
    return replace(
        batch,
        weights_N=torch.zeros_like(batch.weights_N),
        sequences_N=torch.full_like(batch.sequences_N, -1),
        mask_N=torch.zeros_like(batch.mask_N),
    )


def moved(batch: Batch, device: torch.device) -> Batch:
    """The same batch on another device."""
    columns: dict[str, Any] = {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in vars(batch).items()
    }
    return Batch(**columns)


def _lay_out(tree: Tree, row_start: int, streams: _Streams) -> None:
    row = streams.tokens[-1]
    prompt_end = len(tree.prompt)
    prompt = streams.add_stretch(tree.prompt, 0, None, tree.experts)
    last_of_prompt = row_start + len(row) - 1
    for branch in tree.branches:
        first = row_start + len(row)
        num_inputs = len(branch.tokens) - 1
        if num_inputs:
            streams.add_stretch(branch.tokens[:-1], prompt_end, prompt, branch.experts)
        streams.add_targets(branch, [last_of_prompt, *range(first, first + num_inputs)])


def _choices(streams: _Streams, width: int) -> Tensor | None:
    """See `Batch.experts_BTC`; all stretches have as many bytes a token."""
    if not streams.experts:
        return None
    _, _, tokens, first = streams.experts[0]
    shape = (len(streams.tokens), width, len(first) // tokens)
    choices_BTC = torch.full(shape, OPEN, dtype=torch.uint8)
    for row, place, count, given in streams.experts:
        own = torch.frombuffer(bytearray(given), dtype=torch.uint8).view(count, -1)
        choices_BTC[row, place : place + count] = own
    return choices_BTC


def _padded(rows: list[list[int]], width: int, filler: int) -> Tensor:
    return torch.tensor([row + [filler] * (width - len(row)) for row in rows])


def row_attention(batch: Batch) -> Attention:
    """Causal attention in which a stretch sees itself and the prompt that it continues."""
    if batch.chains:
        # Padding stands at the end of a row, where no real token looks.
        return causal_attention
    length = batch.segments_BT.shape[1]
    keys_B1T = batch.segments_BT.unsqueeze(1)
    own_BTT = batch.segments_BT.unsqueeze(2) == keys_B1T
    parent_BTT = batch.parents_BT.unsqueeze(2) == keys_B1T
    causal_TT = torch.ones(length, length, dtype=torch.bool, device=batch.segments_BT.device).tril()
    return masked_attention(((own_BTT | parent_BTT) & causal_TT).unsqueeze(1))
