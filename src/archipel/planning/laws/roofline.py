"""How fast a machine runs a model: the time of memory, of arithmetic and of starting layers, added up.

One decoding step reads the weights once for the whole batch and every stream's keys and values, and does
2 N FLOP per stream; a prompt does 2 N FLOP per token at once, and causal attention 2 x layers x width x length
more (Pope et al. 2022, arXiv 2211.05102; scores and values 4 x layers x width x length, halved by the mask). Keys and
values take 2 x layers x heads x width x bytes per token (grouped heads: Ainslie et al. 2023). The roofline of Williams
et al. (2009) takes the slower of memory and arithmetic; engines overlap little of the two, as measured batches show.
Bytes, FLOP, seconds throughout; shares of bandwidth and of peak arithmetic are what an engine reaches.
"""

from typing import Any

import numpy as np

Numbers = Any

FLOP_PER_PARAM = 2.0
"""Of a forward pass per token, attention scores left out."""
ATTENTION_FLOP = 2.0
"""Per token, layer, width and token of the prompt: 4 for scores and values, half of them behind the mask."""


def weight_bytes(params: Numbers, byte_per_param: Numbers) -> Numbers:
    """What the weights take, in memory or when read once."""
    return params * byte_per_param


def kv_bytes_per_token(
    layers: Numbers, kv_heads: Numbers, head_width: Numbers, byte_per_value: Numbers
) -> Numbers:
    """Keys and values of one token in all layers."""
    return 2.0 * layers * kv_heads * head_width * byte_per_value


def touched_share(
    active: Numbers, total: Numbers, streams: Numbers, evenness: Numbers = np.inf
) -> Numbers:
    """Share of a mixture's weights that at least one of `streams` needs in a step.

    One stream reads the active share and many read all. Picking evenly, 1 - (1 - share)^streams; but streams crowd
    on the same experts, whose rates of being picked vary as a gamma of shape `evenness` (Greenwood and Yule 1920).
    """
    missed = 1.0 - active / total
    if np.all(np.isinf(evenness)):
        return 1.0 - np.power(missed, streams)
    rare = np.power(missed, 1.0 / evenness)
    return 1.0 - np.power(rare / (rare + streams * (1.0 - rare)), evenness)


def memory_seconds(read_bytes: Numbers, bytes_per_s: Numbers, share: Numbers) -> Numbers:
    """Reading `read_bytes` at a share of the bandwidth."""
    return read_bytes / (bytes_per_s * share)


def compute_seconds(
    params: Numbers, tokens: Numbers, flop_per_s: Numbers, share: Numbers
) -> Numbers:
    """A forward pass of `tokens` at a share of peak arithmetic."""
    return FLOP_PER_PARAM * params * tokens / (flop_per_s * share)


def prompt_seconds_per_token(
    params: Numbers, attended: Numbers, length: Numbers, flop_per_s: Numbers, share: Numbers
) -> Numbers:
    """One token of a prompt of `length`, the mean over it: 2 N + 2 x layers x width x length FLOP.

    `attended` is layers x query heads x width of a head, of the layers that see the whole prompt.
    """
    flop = FLOP_PER_PARAM * params + ATTENTION_FLOP * attended * length
    return flop / (flop_per_s * share)


def padding_params(experts: Numbers, tokens: Numbers, rows: Numbers) -> Numbers:
    """Parameters that computing in tiles of half-filled rows adds to each token's own.

    A chunk of `tokens` leaves each expert few of them, and products take whole tiles: `rows` more per expert.
    """
    return experts * rows / tokens


def mixture_share(share: Numbers, flop_per_s: Numbers, most: Numbers) -> Numbers:
    """Share of peak arithmetic in the products of a mixture: `share`, and never more than `most` FLOP/s."""
    return 1.0 / (1.0 / share + flop_per_s / most)


def step_seconds(
    memory_s: Numbers, compute_s: Numbers, layers: Numbers = 0.0, layer_s: Numbers = 0.0
) -> Numbers:
    """One decoding step: memory, arithmetic, and a time per layer that neither explains.

    Starting a layer's kernels takes time whatever its size: it decides small models on fast memory.
    """
    return memory_s + compute_s + layers * layer_s


def balanced_streams(byte_per_param: Numbers, flop_per_s: Numbers, bytes_per_s: Numbers) -> Numbers:
    """Streams at which reading the weights takes as long as computing with them: the ridge."""
    return byte_per_param * flop_per_s / (FLOP_PER_PARAM * bytes_per_s)


def most_streams(free_bytes: Numbers, kv_bytes: Numbers, context: Numbers) -> Numbers:
    """Streams whose keys and values fit into what the weights leave."""
    return np.maximum(free_bytes, 0.0) / (kv_bytes * context)


def largest_params(free_bytes: Numbers, byte_per_param: Numbers) -> Numbers:
    """The largest model whose weights fit."""
    return np.maximum(free_bytes, 0.0) / byte_per_param
