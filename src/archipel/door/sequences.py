"""Whose log-probabilities a sampled token was drawn with: the door's own record says, never the client.

A datum that a policy gradient is taken of holds tokens which the door sampled after some of its prefixes. Each record of
a sampled sequence whose prompt is such a prefix, and whose tokens go on as the datum does, covers those places.
Parts: `Sequence`, `prefix_digest`, `prefixes`, `covered`, `needs`, `within`. Law: a place that a record covers has the record's number,
whatever the client sent; pure.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from archipel.training.tenants.operations import Array, Datum, LossName

WITH_BEHAVIOUR = frozenset(
    {"importance_sampling", "ppo", "cispo", "dro", "gspo", "stable_reinforce"}
)
"""Losses that compare with the policy that sampled."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """A record of one sampled sequence."""

    id: str
    prompt_length: int
    tokens: Array
    """int32."""
    logprobs: Array
    """float32, as long."""


@dataclass(frozen=True, eq=False)
class Covered:
    """A datum's places, and what the records say of them."""

    logprobs: Array
    """float32 (T,): recorded where covered, the client's elsewhere."""
    is_covered: Array
    """bool (T,)."""
    used: frozenset[str]
    """Ids of the records."""


def prefix_digest(tokens: Array) -> bytes:
    """Of a prompt: 32 bytes."""
    return hashlib.sha256(np.asarray(tokens, "<i4").tobytes()).digest()


def whole(datum: Datum) -> Array:
    """int32 (T + 1,): what the model reads, and the last token it is asked for."""
    last = datum.inputs["target_tokens"][-1:].astype(np.int32)
    return np.concatenate([datum.tokens_T.astype(np.int32), last])


def needs(datum: Datum, loss: LossName) -> Array:
    """Places where the loss hangs on the policy that sampled: bool (T,).

    The ratio of gspo is made of the places that its mask names, whichever the advantages stand at.
    """
    has_advantage = np.asarray(datum.inputs["advantages"] != 0)
    if loss == "gspo" and "mask" in datum.inputs and has_advantage.any():
        return np.asarray(datum.inputs["mask"] != 0)
    return has_advantage


def within(datum: Datum, loss: LossName, is_covered: Array) -> dict[str, Array]:
    """Inputs that keep a loss to what was sampled here, where it looks beyond its advantages.

    dro draws towards the policy that sampled at every place, and a prompt's places have none.
    """
    if loss != "dro":
        return {}
    mask = is_covered & (datum.inputs.get("mask", is_covered) != 0)
    return {"mask": mask.astype(np.float32)}


def prefixes(datum: Datum, lengths: Collection[int]) -> dict[int, bytes]:
    """Digests of its prefixes of these lengths, in one pass over its tokens."""
    data, running, done = whole(datum).astype("<i4").tobytes(), hashlib.sha256(), 0
    found = {}
    for length in sorted(lengths):
        if not 0 < length <= len(datum.tokens_T):
            continue
        running.update(data[4 * done : 4 * length])
        done = length
        found[length] = running.copy().digest()
    return found


def covered(datum: Datum, records: Iterable[Sequence]) -> Covered:
    """What the records say of its places; the nearest to what the client said first, where several fit.

    records: whose prompt is a prefix of the datum. A target that is not the datum's next token is covered by nothing.
    """
    tokens = whole(datum)
    targets = datum.inputs["target_tokens"]
    goes_on = tokens[1:] == targets
    said = datum.inputs.get("logprobs")
    said = np.zeros(len(targets), np.float32) if said is None else said
    logprobs, is_covered = said.astype(np.float32), np.zeros(len(targets), bool)
    fitting = []
    for each in records:
        start = each.prompt_length - 1
        count = min(len(each.tokens), len(targets) - start)
        places = slice(start, start + count)
        if count > 0 and (tokens[start + 1 : start + 1 + count] == each.tokens[:count]).all():
            distance = np.abs(each.logprobs[:count].astype(np.float64) - said[places]).sum()
            fitting.append((float(distance), each.id, places, each.logprobs[:count]))
    used = set()
    for _, name, places, recorded in sorted(fitting, key=lambda each: each[:2]):
        new = ~is_covered[places] & goes_on[places]
        if new.any():
            used.add(name)
            logprobs[places] = np.where(new, recorded, logprobs[places])
            is_covered[places] |= new
    return Covered(logprobs, is_covered, frozenset(used))
