"""What the rollouts of one work may be, by the pace of its run. Part of `rollouts`."""

from collections.abc import Mapping
from dataclasses import dataclass

from archipel.records.episodes import EpisodeTerms
from archipel.records.experts import TENSORS, ExpertTerms
from archipel.records.fingerprints import TENSOR, num_bytes
from archipel.records.programmes.rl import RlPace
from archipel.records.turns import SEAL_BYTES

ROLLOUT_TENSORS = {"tokens": "I32", "logprobs": "F32", "lengths": "I32", "finished": "U8"}
EPISODE_TENSORS = {**ROLLOUT_TENSORS, "sampled": "U8"}
HOSTED_TENSORS = {**EPISODE_TENSORS, "seals": "U8"}


@dataclass(frozen=True, slots=True)
class RolloutBounds:
    """What was asked, for the checks."""

    work: str
    policy: str
    num_groups: int
    group_size: int
    max_new_tokens: int
    vocab_size: int
    stop_tokens: tuple[int, ...]
    exact: str | None = None
    episodes: EpisodeTerms | None = None
    experts: ExpertTerms | None = None
    fingerprints: bool = False
    """Whether rollouts bring fingerprints of the activations that they were sampled from."""
    has_stop_strings: bool = False
    """A completion may have ended by its text, which whoever has the tokenizer finds again."""

    @property
    def tensors(self) -> Mapping[str, str]:
        """What a payload has to hold, and of what type."""
        own = ROLLOUT_TENSORS if self.episodes is None else EPISODE_TENSORS
        if self.episodes is not None and self.episodes.is_hosted:
            own = HOSTED_TENSORS
        told = {TENSOR: "U8"} if self.fingerprints else {}
        return {**own, **told} if self.experts is None else {**own, **told, **TENSORS}


def bounds_of(pace: RlPace, *, work: str, policy: str, num_groups: int) -> RolloutBounds:
    """What a run's pace allows an answer to this work to hold."""
    return RolloutBounds(
        work=work,
        policy=policy,
        num_groups=num_groups,
        group_size=pace.group_size,
        max_new_tokens=pace.max_new_tokens,
        vocab_size=pace.vocab_size,
        stop_tokens=pace.stop_tokens,
        exact=pace.exact,
        episodes=pace.episodes,
        experts=pace.experts,
        fingerprints=pace.fingerprints,
        has_stop_strings=pace.stop is not None,
    )


def max_rollout_bytes(bounds: RolloutBounds) -> int:
    """No honest result of this work is larger."""
    num_rollouts = bounds.num_groups * bounds.group_size
    per_token, told = 8 if bounds.episodes is None else 9, 0
    if bounds.experts is not None:
        told = bounds.experts.most_bytes(num_rollouts, bounds.max_new_tokens)
    if bounds.episodes is not None and bounds.episodes.is_hosted:
        told += num_rollouts * SEAL_BYTES
    if bounds.fingerprints:
        told += num_rollouts * num_bytes(bounds.max_new_tokens) + 256
    return num_rollouts * (bounds.max_new_tokens * per_token + 5) + 4096 + told
