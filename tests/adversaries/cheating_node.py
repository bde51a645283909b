"""A node whose work process is another: `python tests/adversaries/cheating_node.py CHEAT SHARE node join URL ...`."""

import sys
from pathlib import Path

from archipel.cli.archipel import run
from archipel.node import worker

CHILD = Path(__file__).with_name("child.py")

if __name__ == "__main__":
    way = sys.argv[1:3]
    worker.program = lambda ranks, setup: [str(CHILD), *way]
    sys.argv = [sys.argv[0], *sys.argv[3:]]
    run()
