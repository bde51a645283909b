"""How much work may be admitted, and how it is shared out.

Admission paces generation instead of discarding it: groups are numbered in the order of admission
and batch u is exactly the groups u*B .. (u+1)*B - 1, so with at most (S + v + 1) * B groups ever
admitted while the learner stands at version v, no update sees a rollout older than S versions.
(The capacity rule is AReaL's, arXiv 2505.24298; consuming in order makes its bound strict.)
"""


def admissible_groups(
    *, max_staleness: int, version: int, groups_per_update: int, accepted: int, in_flight: int
) -> int:
    """How many more groups may be handed out now: (S + v + 1) * B - (accepted + in flight)."""
    ceiling = (max_staleness + version + 1) * groups_per_update
    return max(0, ceiling - accepted - in_flight)


def fair_share(batch: int, rate: int, total: int, slowest: int) -> int:
    """Part of `batch` groups for a node of speed `rate`, rounded up, at least 1.

    Rates may be in any common unit. A node that nobody measured yet (rate 0) counts as the slowest.

    Args:
        batch: groups to be shared out.
        rate: the node's own.
        total: the sum over all nodes that share, this one included; who has no rate counts as slowest.
        slowest: the smallest known rate, or 1 when none is known.
    """
    own = rate or slowest
    return max(1, -(-batch * own // max(total, own, 1)))
