"""What the trainer learns from: groups of rollouts, and the batch of tensors made of them.

Parts: `Group` is a plain value that crosses rooms; `Batch` is what one pass through the network
consumes. The trainer sees nothing of tasks, texts or graders.
Law: a sampled token is never decoded and encoded again; its behaviour log-probability stays with it.
"""
# ruff: noqa: N815 - shape suffixes: tokens_BT

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from archipel.records.fields import MAX_GROUPS_PER_UPDATE
from archipel.records.rollouts import Rollout

MAX_SEQUENCE_TOKENS = 1_048_576
"""Longest prompt plus completion that the trainer will look at."""


class BadGroup(ValueError):
    """A group that cannot be trained on: empty, uneven, out of range, or from a future policy."""


@dataclass(frozen=True)
class Group:
    """All rollouts of one prompt, with the reward of each."""

    index: int
    prompt: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    rewards: tuple[float, ...]
    policy_version: int
    """The policy version that all of them were sampled from."""
    parts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Of a reward that an environment gives in parts: for each part, its value for each rollout."""


@dataclass(frozen=True)
class Batch:
    """B rows of T network inputs, and the N sampled tokens that they predict.

    Rows are laid out by `training.packing`. The last sampled token of a completion is only ever a
    target, so it takes no place in a row.
    """

    tokens_BT: Tensor
    """int64 token ids; padding is 0."""
    positions_BT: Tensor
    """int64 position of each token in its own sequence."""
    segments_BT: Tensor
    """int64 number of the stretch a token belongs to, unique in its row; padding is -1."""
    parents_BT: Tensor
    """int64 segment that this one continues (a shared prompt), or the segment itself."""
    chains: bool
    """True when every row is one sequence from its start, so plain causal attention is exact."""
    predictors_N: Tensor
    """int64 place in the flattened rows whose hidden state predicts each sampled token."""
    targets_N: Tensor
    """int64 ids of the sampled tokens."""
    behaviour_logprobs_N: Tensor
    """float32 log-probability under the policy that sampled the token; 0 where not valid."""
    advantages_N: Tensor
    """float32 advantage of the completion the token belongs to."""
    weights_N: Tensor
    """float32 factor on the token's loss; 0 where not valid."""
    sequences_N: Tensor
    """int64 number of the completion, in this batch, that the token belongs to; -1 where not valid."""
    mask_N: Tensor
    """bool, true where the token counts: it has a usable behaviour log-probability."""
    experts_BTC: Tensor | None = None
    """uint8, C = layers * experts of a token: where the sampler sent each input; `OPEN` where nobody says."""


def check_groups(groups: Sequence[Group], version: int, vocab_size: int) -> tuple[Group, ...]:
    """Groups in the order of their index, each fit to be trained on by policy `version`.

    Raises:
        BadGroup: no or too many groups, a repeated index, or a group that `check_group` refuses.
    """
    if not 0 < len(groups) <= MAX_GROUPS_PER_UPDATE:
        raise BadGroup(f"got {len(groups)} groups, expected 1 to {MAX_GROUPS_PER_UPDATE}")
    ordered = tuple(sorted(groups, key=lambda group: group.index))
    for before, after in itertools.pairwise(ordered):
        if before.index == after.index:
            raise BadGroup(f"group {after.index} is given twice; pass each group once")
    for group in ordered:
        check_group(group, version, vocab_size)
    return ordered


def check_group(group: Group, version: int, vocab_size: int) -> None:
    """Refuse a group whose parts do not fit together.

    Raises:
        BadGroup: the message names the group, what was found and what was expected.
    """
    where = f"group {group.index}"
    if not 2 <= len(group.rollouts) == len(group.rewards):
        raise BadGroup(
            f"{where} has {len(group.rollouts)} rollouts and {len(group.rewards)} rewards; "
            "expected as many of each, at least 2"
        )
    if not 0 <= group.policy_version <= version:
        raise BadGroup(
            f"{where} says policy version {group.policy_version}, the trainer is at {version}; "
            "train on versions that were published"
        )
    if not all(math.isfinite(reward) for reward in group.rewards):
        raise BadGroup(f"{where} has a reward that is not finite; grade it again")
    for name, values in group.parts.items():
        if len(values) != len(group.rollouts) or not all(map(math.isfinite, values)):
            raise BadGroup(
                f"{where} has reward part {name!r:.60} with {len(values)} values for {len(group.rollouts)} "
                "rollouts; expected a number for each"
            )
    for number, rollout in enumerate(group.rollouts):
        check_rollout(group.prompt, rollout, vocab_size, f"{where}, rollout {number}")


def check_rollout(prompt: tuple[int, ...], rollout: Rollout, vocab_size: int, where: str) -> None:
    """Refuse an empty or uneven rollout and token ids outside [0, vocab_size)."""
    length = len(prompt) + len(rollout.tokens)
    if not prompt or not rollout.tokens or length > MAX_SEQUENCE_TOKENS:
        raise BadGroup(
            f"{where} has {len(prompt)} prompt and {len(rollout.tokens)} sampled tokens; "
            f"expected at least one of each and at most {MAX_SEQUENCE_TOKENS} together"
        )
    if len(rollout.logprobs) != len(rollout.tokens):
        raise BadGroup(
            f"{where} has {len(rollout.logprobs)} log-probabilities for "
            f"{len(rollout.tokens)} tokens; expected one each"
        )
    ids = (*prompt, *rollout.tokens)
    if min(ids) < 0 or max(ids) >= vocab_size:
        raise BadGroup(f"{where} has a token id outside [0, {vocab_size})")


def dealt(
    kept: list[tuple[Group, tuple[float, ...]]], minibatches: int
) -> list[list[tuple[Group, tuple[float, ...]]]]:
    """Deal the groups out like cards; fewer parts when there are fewer groups."""
    parts = min(minibatches, len(kept))
    return [kept[part::parts] for part in range(parts)]
