"""How long an outer step waits for contributions, and how many steps a member is asked for. Pure; integers alone.

A contribution may take as long as its steps take at the median time of a step, and k median absolute deviations more:
what is usual in this run says what is late in it, and no fixed number has to be guessed.
Law: whoever folds the ledger to the same entry finds the same moment.
"""

from collections.abc import Sequence

from archipel.lab.programmes import pretrain
from archipel.lab.state import Node, Run

LONGEST = 2
"""An outer step waits at most so many times as long as a whole contribution may take: nobody keeps it by coming late."""


def median(values: Sequence[int]) -> int:
    """The middle one; of two the mean, rounded down. Raises ValueError: there are none."""
    if not values:
        raise ValueError("nothing has a median")
    ordered, middle = sorted(values), len(values) // 2
    if len(values) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) // 2


def longest_us(times_us: Sequence[int], deadline_milli: int) -> int:
    """Microseconds that a step may take: the median of these, and so many thousandths of a median absolute deviation more."""
    usual = median(times_us)
    return usual + median([abs(each - usual) for each in times_us]) * deadline_milli // 1000


def may_take_ms(run: Run, steps: int) -> int | None:
    """How long a contribution of so many steps may take before it is late; None: nothing was measured yet."""
    times, pace = pretrain.course(run).times_us, pretrain.pace(run)
    if not times:
        return None
    found = steps * longest_us(times, pace.merge.deadline_milli) // 1000
    return max(found, pace.min_deadline_ms)


def waits_until_ms(run: Run) -> int | None:
    """Unix milliseconds until which contributions to the newest version are waited for, as far as they are not there.

    Those in nodes' hands for their own time from their grants on, those that nobody has for the time of a whole one from
    the beginning. None: nothing was measured yet, and all are waited for.
    """
    slice_, pace = pretrain.course(run), pretrain.pace(run)
    whole_ms = may_take_ms(run, pace.steps)
    if whole_ms is None:
        return None
    ends = [
        each.granted_at_ms + (may_take_ms(run, each.steps) or 0) for each in slice_.held.values()
    ]
    if pretrain.free(run):
        ends.append(slice_.began_ms + whole_ms)
    return min(max(ends, default=0), slice_.began_ms + LONGEST * whole_ms)


def may_be_merged(run: Run) -> bool:
    """Whether a merge can begin once the time has come; cheap."""
    answered = len(pretrain.course(run).answered)
    return run.version < 0 or answered >= pretrain.pace(run).merge.quorum


def is_merged_at(run: Run, now_ms: int) -> bool:
    """Whether nothing is waited for any more: all contributions are there, or enough of them and the time has passed."""
    if not may_be_merged(run):
        return False
    if run.version < 0 or len(pretrain.course(run).answered) == pretrain.pace(run).members:
        return True
    end = waits_until_ms(run)
    return end is not None and now_ms >= end


def is_slow(run: Run, now_ms: int, unmeasured_ms: int) -> bool:
    """Whether contributions that nobody has are not taken by who should: they are anybody's then.

    unmeasured_ms: how long that takes where nothing was measured.
    """
    whole_ms = may_take_ms(run, pretrain.pace(run).steps)
    wait_ms = unmeasured_ms if whole_ms is None else whole_ms
    return now_ms >= pretrain.course(run).began_ms + wait_ms


def steps_for(run: Run, node: Node, kind: str) -> int:
    """Steps that this node is asked for: as many as it does while the usual member does all, by its measured speed, and
    half as many after each lease that it let run out.
    """
    pace, known = pretrain.pace(run), node.speed(kind, run.name)
    steps, times = pace.steps, pretrain.course(run).times_us
    if known.rate_micro and times:
        steps = pace.steps * median(times) * known.rate_micro // 10**12
    return max(min(steps, pace.steps) >> known.setbacks, pace.min_steps)
