"""The clock of this machine as records tell the time; whatever decides takes that as an argument."""

import time


def clock_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
