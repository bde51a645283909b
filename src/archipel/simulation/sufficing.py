"""What would have sufficed, where a simulated run did not come as far as the real one. Pure.

Law: only what the ledger measured is used: how long each node took for a group, who was there when, what is left to do.
"""

from statistics import median

from archipel.lab.programmes import rl
from archipel.lab.state import Run
from archipel.plurals import counted
from archipel.simulation.observed import Observed, Seen

HOUR_MS = 3_600_000


def advice(observed: Observed, run: Run, now_ms: int) -> str:
    """One sentence: what is left, what those who are there bring, and how many more it takes in the real run's time.

    run: as the simulation left it at `now_ms`, Unix milliseconds.
    """
    left = observed.run.version - max(run.version, 0)
    groups = left * rl.pace(run).groups_per_update
    time_ms = max(observed.ended_at_ms - observed.run.version_0_at_ms, 1)
    wanted = groups / (time_ms / HOUR_MS)
    rates = {did: rate for did, seen in observed.seen.items() if (rate := _groups_per_hour(seen))}
    here = {did: rate for did, rate in rates.items() if is_there(observed.seen[did], now_ms)}
    brought = sum(here.values())
    what = (
        f"{counted(left, 'version')} or {counted(groups, 'group')} are left, {wanted:.3g} groups an hour in the real run's"
        f" time; {counted(len(here), 'node')} that sampled in the real run "
        f"{'is' if len(here) == 1 else 'are'} there at the end and {'brings' if len(here) == 1 else 'bring'} {brought:.3g}"
    )
    if brought >= wanted:
        return (
            f"{what}: they would suffice, so something else holds them back (a verdict, a stake, money that ran out); "
            "look at the real run's audits and funds"
        )
    each = median(rates.values())
    more = -(-(wanted - brought) // each)
    return (
        f"{what}: {counted(int(more), 'more node')} of {each:.3g} groups an hour each would suffice"
    )


def is_there(seen: Seen, now_ms: int) -> bool:
    """Whether a node is there, by its coming and going in the real run."""
    return any(
        (joined_ms is None or joined_ms <= now_ms) and (left_ms is None or left_ms > now_ms)
        for joined_ms, left_ms in seen.spells
    )


def _groups_per_hour(seen: Seen) -> float:
    took_ms = sum(each.ms for each in seen.rollouts)
    return sum(each.groups for each in seen.rollouts) * HOUR_MS / took_ms if took_ms > 0 else 0.0
