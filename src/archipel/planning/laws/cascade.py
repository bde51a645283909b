"""Small and large models together: what they cost and how much of the large one's lead they keep.

A cascade asks the small model first and always pays for it (FrugalGPT, arXiv 2305.05176); a router decides
before either answers (RouteLLM, arXiv 2406.18665). Quality is told as the share of the gap between small and
large that is recovered (RouteLLM, section 4). How that share grows with calls is described by one exponent:
1 - (1 - calls)^skill, where 1 is a coin and more is better; the exponent is read off published points.
"""

from typing import Any

import numpy as np

Numbers = Any


def cascade_cost(small: Numbers, large: Numbers, escalated: Numbers) -> Numbers:
    """Cost of one request or token: the small model always, the large one for the escalated share."""
    return small + escalated * large


def router_cost(small: Numbers, large: Numbers, sent: Numbers) -> Numbers:
    """Cost when every request goes to one of the two only."""
    return (1.0 - sent) * small + sent * large


def saving(cost: Numbers, large: Numbers) -> Numbers:
    """Share saved against asking the large model always."""
    return 1.0 - cost / large


def recovered(sent: Numbers, skill: Numbers) -> Numbers:
    """Share of the quality gap recovered with a share of calls to the large model."""
    return 1.0 - np.power(1.0 - sent, skill)


def largest_escalation(small: Numbers, large: Numbers) -> Numbers:
    """The escalated share above which a cascade costs more than the large model alone."""
    return 1.0 - small / large
