"""An episode as what is learned from: one sample, or several where its context was told anew.

A chat template may change earlier turns when later ones come: it leaves out what the model thought, or moves the
system's words. The tokens of a turn stay those that were sampled, after the context that they were sampled from, so
such an episode is several samples: each a prompt of its own and what was sampled and written after that. In one
sequence each further one begins with its prompt, marked `RETOLD`, so counts, bounds and seals are those of one episode.
Law: pure; every sampled token is in exactly one sample.
"""

from dataclasses import dataclass, replace

from archipel.records.episodes import RETOLD
from archipel.records.rollouts import Rollout


@dataclass(frozen=True, slots=True)
class Sample:
    """One prompt and what was sampled after it."""

    first: int
    """Place in the whole episode at which what follows the prompt begins."""
    prompt: tuple[int, ...]
    rollout: Rollout
    """All that follows the prompt."""


def samples_of(prompt: tuple[int, ...], rollout: Rollout) -> list[Sample]:
    """The samples of a rollout of `prompt`, in order; almost always one, which is the rollout itself."""
    mask = rollout.sampled
    if mask is None or RETOLD not in mask:
        return [Sample(0, prompt, rollout)]
    found, start, own = [], 0, prompt
    while start < len(mask):
        end = mask.find(RETOLD, start)
        end = len(mask) if end < 0 else end
        if start < end:
            found.append(Sample(start, own, _part(rollout, start, end)))
        start = end
        while start < len(mask) and mask[start] == RETOLD:
            start += 1
        own = rollout.tokens[end:start]
    return found or [Sample(0, prompt, rollout)]


def _part(rollout: Rollout, start: int, end: int) -> Rollout:
    """What stands there; only the last part ends as the whole does."""
    return replace(
        rollout,
        tokens=rollout.tokens[start:end],
        logprobs=rollout.logprobs[start:end],
        sampled=None if rollout.sampled is None else rollout.sampled[start:end],
        finished=rollout.finished and end == len(rollout.tokens),
        seal=None,
    )
