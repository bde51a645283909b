"""A member that sends the opposite of what it learned: `python lying_member.py node join URL ...`.

The package's own node, but for its work process, which turns every pseudo-gradient round and encodes it as an honest
one is.
"""

import runpy
import sys

CHILD = "--child"


def lie() -> None:
    """From here on this process turns round what it trained."""
    from dataclasses import replace

    from archipel.work.kinds import inner_step

    honest = inner_step._encoded

    def turned(member, trained, pace):
        delta = {name: -each for name, each in trained.delta.items()}
        return honest(member, replace(trained, delta=delta), pace)

    inner_step._encoded = turned


if __name__ == "__main__":
    if sys.argv[1:] == [CHILD]:
        from archipel.work import child

        lie()
        sys.argv = sys.argv[:1]
        child.serve()
    else:
        from archipel.node import worker

        worker.program = lambda ranks, setup: [__file__, CHILD]
        runpy.run_module("archipel.cli.archipel", run_name="__main__")
