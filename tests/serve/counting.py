"""A process that counts and nothing else, to be killed: `python -m serve.counting DIR LIMIT MENDED`.

It prints a line before each answer that it counts, and one after each receipt; LIMIT: bytes that its files may have, 0 any;
MENDED: 1, they may have any before it ends.
"""

import resource
import signal
import sys
from pathlib import Path

from archipel.identity import Identity
from archipel.serve.access import LOCAL
from archipel.serve.meter_file import KEY
from archipel.serve.metering import Metering, Rate

WEIGHTS = "sha256:" + "a" * 64
EVERY = 7
"""Answers between two receipts."""


def main(folder: Path, limit: int, mended: int) -> None:
    if limit:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    identity = Identity.load_or_create(folder / KEY)
    meter = Metering(folder, identity, Rate(WEIGHTS, 2_000_000, 3600.0), {LOCAL: "0" * 16})
    print("break" if meter.is_after_break else "whole", flush=True)
    for number in range(1, 10_000 if not limit else 40):
        print("counting", number, flush=True)
        meter.count(LOCAL, tokens_in=3, tokens_out=4)
        if number % EVERY == 0:
            try:
                meter.write()
            except OSError:
                print("full", flush=True)
            else:
                print("written", number, flush=True)
    if limit and mended:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    meter.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
