"""Members far apart: what one exchange of updates puts on the wire, how long it takes, how much of it waits.

Ring exchange (Patarasuk and Yuan 2009): each of n members sends and receives 2 (n-1)/n of the update; its
limit 2 * bits * N / B is the bound that Epoch (2025) puts on naive training over the internet. Sparse
updates do not add up in a ring: each member uploads its own once and fetches everyone else's, or the dense
merge once that is smaller. Weights to generators go through relays, so their number does not matter.
Bits, bits per second and seconds throughout; latency is left out.
"""

from typing import Any

import numpy as np

Numbers = Any


def naive_seconds(params: Numbers, bits_per_param: Numbers, bits_per_s: Numbers) -> Numbers:
    """One exchange of everything, out and in over the same line: 2 * bits * N / B."""
    return 2.0 * bits_per_param * params / bits_per_s


def largest_params(limit_s: Numbers, bits_per_param: Numbers, bits_per_s: Numbers) -> Numbers:
    """The largest model whose naive exchange takes at most `limit_s`."""
    return limit_s * bits_per_s / (2.0 * bits_per_param)


def ring_seconds(bits: Numbers, members: Numbers, bits_per_s: Numbers) -> Numbers:
    """One all-reduce of `bits` among `members`; nothing for a single one, the naive bound for many."""
    return 2.0 * (1.0 - 1.0 / members) * bits / bits_per_s


def gather_seconds(
    bits: Numbers, dense_bits: Numbers, members: Numbers, up_per_s: Numbers, down_per_s: Numbers
) -> Numbers:
    """Everyone uploads `bits` once and fetches the others', or the merged `dense_bits` if that is less.

    Upload and download run at the same time; the slower decides. Nothing for a single member.
    """
    others = members - 1.0
    fetched = np.minimum(others * bits, dense_bits)
    return np.where(others > 0, np.maximum(bits / up_per_s, fetched / down_per_s), 0.0)


def broadcast_seconds(bits: Numbers, bits_per_s: Numbers) -> Numbers:
    """One copy of `bits` to every generator, relayed on arrival."""
    return bits / bits_per_s


def sparse_bits_per_param(density: Numbers, bits_per_kept: Numbers) -> Numbers:
    """Bits per parameter when only `density` of the entries are sent, each with value and place."""
    return density * bits_per_kept


def exposed_seconds(exchange_s: Numbers, compute_s: Numbers, overlap: Numbers) -> Numbers:
    """The part of an exchange in which members wait: `overlap` of it hides, behind computing at most."""
    return exchange_s - np.minimum(overlap * exchange_s, compute_s)


def utilisation(compute_s: Numbers, exposed_s: Numbers) -> Numbers:
    """Share of a round in which members compute, in 0..1."""
    return compute_s / (compute_s + exposed_s)
