"""Moments that a seed draws, and processes that sleep."""

import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress


def moment(rng: random.Random, shortest_s: float, longest_s: float) -> None:
    """Wait for a while that the seed draws."""
    time.sleep(rng.uniform(shortest_s, longest_s))


def stop_for(pids: Sequence[int], seconds: float) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
