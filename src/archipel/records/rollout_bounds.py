"""What an answer to rollout work may hold, by its run's pace."""

from dataclasses import dataclass

from archipel.records.episodes import EpisodeTerms
from archipel.records.programmes.rl import RlPace
from archipel.records.turns import SEAL_BYTES


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
    )


def max_rollout_bytes(bounds: RolloutBounds) -> int:
    """No honest result of this work is larger."""
    num_rollouts = bounds.num_groups * bounds.group_size
    beside = SEAL_BYTES if bounds.episodes is not None and bounds.episodes.is_hosted else 0
    per_token = 8 if bounds.episodes is None else 9
    return num_rollouts * (bounds.max_new_tokens * per_token + 5 + beside) + 4096
