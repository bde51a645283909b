"""Rollouts as they travel (prompts: `records.prompts`): flat token arrays in a payload, checked without a tensor library.

rollouts: `tokens` I32, `logprobs` F32 (one per token), `lengths` I32 and `finished` U8 (one per rollout),
          rollouts of one group side by side, groups in the order of the work's spec;
          in runs of episodes also `sampled` U8 (one per token: 1 sampled, 0 written by the environment, 2 of a
          context told anew), and where the trusted role answers turns `seals` U8 (64 per rollout: its signature of the last reply);
          in runs that replay routing also `records.experts.TENSORS`, in runs whose audits look at them `fingerprints` U8

`unpack_rollouts` is every cheap check of a stranger's result in one place. It does not show that the
tokens were really sampled from the policy; that is what audits are for.
"""

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from archipel.records.episodes import RETOLD, SAMPLED, EpisodeTerms, check_mask, written_of
from archipel.records.experts import (
    ExpertTerms,
    check_choices,
    cut_choices,
    packed_choices,
)
from archipel.records.fingerprints import TENSOR, check_fingerprints, cut_fingerprints
from archipel.records.payload import Payload, read_payload, write_payload
from archipel.records.prompts import (
    NotFinite,
    OutOfRange,
    WrongLabel,
    WrongShape,
    pack_prompts,
    unpack_prompts,
)
from archipel.records.rollout_bounds import RolloutBounds, bounds_of, max_rollout_bytes
from archipel.records.turns import SEAL_BYTES

__all__ = [
    "NotFinite",
    "OutOfRange",
    "Rollout",
    "RolloutBounds",
    "WrongLabel",
    "WrongShape",
    "bounds_of",
    "check_rollouts",
    "max_rollout_bytes",
    "pack_prompts",
    "pack_rollouts",
    "unpack_prompts",
    "unpack_rollouts",
]

LOGPROB_TOLERANCE = 1e-4
"""A log-probability may exceed 0 by this much through rounding."""
AT_ONCE = 65_536
"""Values that one call looks at: a millisecond."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled completion, or one episode, from the engine to the loss."""

    tokens: tuple[int, ...]
    """Rollout tokens; a stop token that ended the rollout is the last of them."""
    logprobs: tuple[float, ...]
    """Nats, one per token, under the distribution that was sampled from: the policy's at the run's temperature, and
    what a cut left of it, renormalised; 0 where not sampled."""
    finished: bool
    """Ended by a stop token or stop string, not by the length limit; of an episode: its environment said that it is over."""
    sampled: bytes | None = None
    """Of an episode, per token, as in `records.episodes`: sampled, written or retold. None: all are sampled."""
    experts: bytes | None = None
    """Which experts the tokens that were read, prompt and all but the last, were sent to (`records.experts`)."""
    seal: bytes | None = None
    """Of an episode whose turns were asked: the trusted role's signature of the last reply (`records.turns`)."""
    fingerprints: bytes | None = None
    """Of the activations that its tokens were sampled from (`records.fingerprints`)."""
    work: str = ""
    """Of such an episode, once it is read: for which work it was played."""

    @property
    def num_sampled(self) -> int:
        """Tokens that the model sampled."""
        return len(self.tokens) if self.sampled is None else self.sampled.count(SAMPLED)


def pack_rollouts(
    groups: Sequence[Sequence[Rollout]],
    *,
    work: str,
    policy: str,
    exact: str | None = None,
    experts: ExpertTerms | None = None,
) -> bytes:
    """Payload bytes for the groups of one work, in the order of its spec; `exact` is the contract, if any.

    All of the rollouts have masks, or none has; fingerprints likewise. experts: of a run that replays routing; all of them say it.
    """
    rollouts = [rollout for group in groups for rollout in group]
    metadata = {"format": "archipel.rollouts.v1", "work": work, "policy": policy}
    tensors: dict[str, array] = {
        "tokens": array("i", [t for r in rollouts for t in r.tokens]),
        "logprobs": array("f", [p for r in rollouts for p in r.logprobs]),
        "lengths": array("i", [len(r.tokens) for r in rollouts]),
        "finished": array("B", [int(r.finished) for r in rollouts]),
    }
    if masks := [r.sampled for r in rollouts if r.sampled is not None]:
        tensors["sampled"] = array("B", b"".join(masks))
    if seals := [r.seal for r in rollouts if r.seal is not None]:
        tensors["seals"] = array("B", b"".join(seals))
    if prints := [r.fingerprints for r in rollouts if r.fingerprints is not None]:
        tensors[TENSOR] = array("B", b"".join(prints))
    if experts is not None:
        chosen = [[(r.experts or b"", len(r.tokens)) for r in group] for group in groups]
        tensors |= packed_choices(chosen, experts.per_token)
    return write_payload(
        Payload(tensors, metadata if exact is None else metadata | {"exact": exact})
    )


def check_rollouts(data: bytes | memoryview, bounds: RolloutBounds) -> int:
    """Check a result against what was asked; returns how many tokens were sampled.

    1 the payload is well formed  2 it names this work, policy and contract  3 counts and lengths fit
    4 tokens exist, log-probabilities are possible  5 every rollout, or turn of an episode, ends where it must;
    choices of experts are of every token that was read, fingerprints of every token that was sampled
    Not shown: that this policy gave these tokens these log-probabilities, nor (whoever replays an episode finds
    that) that the environment wrote the rest of it.

    Raises:
        BadPayload: step 1.  WrongLabel: step 2.  WrongShape: steps 3, 5.  OutOfRange, NotFinite: 4.
    """
    parts = _checked(data, bounds)
    masks = parts.get("sampled")
    return len(parts["tokens"]) if masks is None else sum(map(_num_sampled, _pieces(masks)))


def unpack_rollouts(data: bytes | memoryview, bounds: RolloutBounds) -> list[list[Rollout]]:
    """The groups of a result, checked as `check_rollouts` does, which says what is raised."""
    parts = _checked(data, bounds)
    rollouts, size = _cut(parts), bounds.group_size
    if bounds.experts is not None:
        choices = cut_choices(parts, size, bounds.experts.per_token)
        rollouts = [replace(each, experts=own) for each, own in zip(rollouts, choices, strict=True)]
    if bounds.fingerprints:
        prints = cut_fingerprints(parts)
        rollouts = [
            replace(each, fingerprints=own) for each, own in zip(rollouts, prints, strict=True)
        ]
    if "seals" in parts:
        seals, width = parts["seals"].tobytes(), SEAL_BYTES
        rollouts = [
            replace(each, seal=seals[n * width : (n + 1) * width], work=bounds.work)
            for n, each in enumerate(rollouts)
        ]
    return [rollouts[start : start + size] for start in range(0, len(rollouts), size)]


def _checked(data: bytes | memoryview, bounds: RolloutBounds) -> Mapping[str, array]:
    # 1
    payload = read_payload(data, bounds.tensors)
    tokens, logprobs = payload.tensors["tokens"], payload.tensors["logprobs"]
    lengths, finished = payload.tensors["lengths"], payload.tensors["finished"]
    # 2
    named = {"work": bounds.work, "policy": bounds.policy, "exact": bounds.exact}
    for key, asked in named.items():
        got = payload.metadata.get(key)
        if got != asked:
            raise WrongLabel(
                f"payload names {key} {got or 'nothing'!r:.90}, expected {asked or 'nothing'!r}"
            )
    # 3
    expected = bounds.num_groups * bounds.group_size
    if len(lengths) != expected or len(finished) != expected:
        raise WrongShape(f"{len(lengths)} rollouts and {len(finished)} flags, expected {expected}")
    if any(min(each) < 1 or max(each) > bounds.max_new_tokens for each in _pieces(lengths)):
        raise WrongShape(f"a rollout's length is outside 1 .. {bounds.max_new_tokens}")
    total = sum(map(sum, _pieces(lengths)))
    if not total == len(tokens) == len(logprobs):
        raise WrongShape(
            f"lengths add up to {total}, but there are {len(tokens)} tokens "
            f"and {len(logprobs)} log-probabilities"
        )
    # 4
    _check_values(tokens, logprobs, finished, bounds)
    # 5
    if bounds.episodes is None:
        _check_endings(tokens, lengths, finished, bounds)
    else:
        _check_episodes(payload.tensors, bounds, bounds.episodes)
    if bounds.experts is not None:
        check_choices(payload.tensors, bounds.group_size, bounds.experts)
    if bounds.fingerprints:
        check_fingerprints(payload.tensors[TENSOR], lengths)
    return payload.tensors


def _check_values(tokens: array, logprobs: array, finished: array, bounds: RolloutBounds) -> None:
    if any(min(each) < 0 or max(each) >= bounds.vocab_size for each in _pieces(tokens)):
        raise OutOfRange(f"a token id is outside 0 .. {bounds.vocab_size - 1}")
    # Any NaN or infinity survives a sum of float32 values.
    if not all(math.isfinite(sum(each)) for each in _pieces(logprobs)):
        raise NotFinite("a log-probability is NaN or infinite")
    most = max(map(max, _pieces(logprobs)))
    if most > LOGPROB_TOLERANCE:
        raise OutOfRange(f"a log-probability is {most:.6f}; none can exceed 0")
    flag = max(map(max, _pieces(finished)))
    if flag > 1:
        raise OutOfRange(f"a finished flag is {flag}, expected 0 or 1")


def _check_endings(tokens: array, lengths: array, finished: array, bounds: RolloutBounds) -> None:
    """A stop token ends a rollout, and nothing else does before the length limit; where the run has stop strings,
    one may, which is looked at where there is a tokenizer.
    """
    stops, num_stopped, end = frozenset(bounds.stop_tokens), 0, 0
    for length, flag in zip(lengths, finished, strict=True):
        end += length
        stopped = tokens[end - 1] in stops
        num_stopped += stopped
        if flag and not stopped and bounds.has_stop_strings:
            continue
        if stopped != bool(flag):
            raise WrongShape(f"finished is {bool(flag)}, but the last token says {stopped}")
        if not stopped and length != bounds.max_new_tokens:
            raise WrongShape(
                f"a rollout of {length} tokens has no stop token "
                f"and is shorter than the limit of {bounds.max_new_tokens}"
            )
    # Every stop token is the last of its rollout if there are as many as stopped rollouts.
    if sum(each.count(stop) for each in _pieces(tokens) for stop in stops) != num_stopped:
        raise WrongShape("a rollout goes on after a stop token")


def _check_episodes(parts: Mapping[str, array], bounds: RolloutBounds, terms: EpisodeTerms) -> None:
    """Turns end with stop tokens, the environment's tokens have no log-probability."""
    tokens, logprobs, masks = parts["tokens"], parts["logprobs"], parts["sampled"]
    if len(masks) != len(tokens):
        raise WrongShape(f"masks of {len(masks)} tokens, but there are {len(tokens)} tokens")
    seals = parts.get("seals")
    if seals is not None and len(seals) != SEAL_BYTES * len(parts["lengths"]):
        raise WrongShape(f"{len(seals)} bytes of seals, expected {SEAL_BYTES} for each rollout")
    most = RETOLD if terms.retells else SAMPLED
    if max(map(max, _pieces(masks))) > most:
        raise OutOfRange(f"a mask holds something else than 0 to {most}")
    end = 0
    for length, flag in zip(parts["lengths"], parts["finished"], strict=True):
        start, end = end, end + length
        mask, episode = masks[start:end].tobytes(), tokens[start:end]
        check_mask(
            mask, episode, bounds.stop_tokens, terms.turns, retells=terms.retells is not None
        )
        stopped = episode[-1] in bounds.stop_tokens
        if flag and not stopped:
            raise WrongShape("an episode is finished, but its last turn has not ended")
        if not stopped and length != bounds.max_new_tokens:
            raise WrongShape(
                f"an episode of {length} tokens has no stop token at its end "
                f"and is shorter than the limit of {bounds.max_new_tokens}"
            )
        if any(any(logprobs[start + a : start + b]) for a, b in written_of(mask)):
            raise OutOfRange("a token of the environment has a log-probability")


def _num_sampled(mask: array) -> int:
    return mask.count(SAMPLED)


def _pieces(values: array) -> Iterator[array]:
    """One call over all of a large result would keep the interpreter from every other thread."""
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]


def _cut(parts: Mapping[str, array]) -> list[Rollout]:
    tokens, logprobs, masks = parts["tokens"], parts["logprobs"], parts.get("sampled")
    rollouts, start = [], 0
    for length, flag in zip(parts["lengths"], parts["finished"], strict=True):
        end = start + length
        mask = None if masks is None else masks[start:end].tobytes()
        rollouts.append(
            Rollout(tuple(tokens[start:end]), tuple(logprobs[start:end]), bool(flag), mask)
        )
        start = end
    return rollouts
