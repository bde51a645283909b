"""How much text it takes to tell two models apart.

Wald's sequential probability ratio test with both error rates at a needs on average
[(1−a) ln((1−a)/a) + a ln(a/(1−a))] / ΔL observations, where ΔL is the information per observation that
separates the two. Gundlach, Lynch, Thompson (2025), arXiv 2507.07931, take the difference of the losses in
nat per token for ΔL, so the answer is in tokens.
"""

from typing import Any

import numpy as np

Numbers = Any


def evidence_nats(error: Numbers) -> Numbers:
    """Information that a decision with this error rate needs, in nats: 0 when guessing (a = 1/2)."""
    odds = np.log((1.0 - error) / error)
    return (1.0 - error) * odds - error * odds


def tokens_needed(error: Numbers, gap: Numbers) -> Numbers:
    """Expected tokens until the test decides; `gap` in nat per token."""
    return evidence_nats(error) / gap
