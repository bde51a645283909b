"""Failures of a large job: how often, how often to save, and what share of the time does useful work.

Failures of independent parts arrive as one Poisson process whose rate is the sum of theirs. Saving every
tau hours costs checkpoint_h per tau and loses tau/2 per failure on average; Young (1974) minimises the sum:
tau = sqrt(2 · checkpoint_h · mtbf_h), a first-order result that Daly (2006) refines. All times in hours.
"""

from typing import Any

import numpy as np

Numbers = Any


def mtbf_hours(per_accelerator_mtbf_h: Numbers, accelerators: Numbers) -> Numbers:
    """Mean time between failures of a job that stops when any one accelerator stops."""
    return per_accelerator_mtbf_h / accelerators


def young_interval_h(checkpoint_h: Numbers, mtbf_h: Numbers) -> Numbers:
    """The interval between checkpoints that loses least time, to first order."""
    return np.sqrt(2.0 * checkpoint_h * mtbf_h)


def daly_interval_h(checkpoint_h: Numbers, mtbf_h: Numbers) -> Numbers:
    """The interval of Daly (2006, equation 37): Young's with two more terms, for frequent failures."""
    ratio = checkpoint_h / (2.0 * mtbf_h)
    young = young_interval_h(checkpoint_h, mtbf_h)
    refined = young * (1.0 + np.sqrt(ratio) / 3.0 + ratio / 9.0) - checkpoint_h
    return np.where(checkpoint_h < 2.0 * mtbf_h, refined, mtbf_h)


def goodput(
    mtbf_h: Numbers, checkpoint_h: Numbers, restart_h: Numbers, interval_h: Numbers
) -> Numbers:
    """Share of wall-clock time in which kept work is done, in 0..1.

    Per hour of useful work: checkpoint_h/interval_h of saving, and per hour of wall-clock 1/mtbf_h
    failures, each of which costs a restart and half an interval of work done again.
    """
    saving = checkpoint_h / (interval_h + checkpoint_h)
    lost = (restart_h + (interval_h + checkpoint_h) / 2.0) / mtbf_h
    return np.maximum((1.0 - saving) * (1.0 - np.minimum(lost, 1.0)), 0.0)
