"""A member that makes one inner step and says that it made all: `python lazy_member.py node join URL ...`.

The package's own node, but for its work process. What it sends makes held-out text likelier, so a merge takes it in.
"""

import runpy
import sys

CHILD = "--child"


def idle() -> None:
    """From here on this process makes one step of each work, and repeats the state after it."""
    from dataclasses import replace

    from archipel.training.inner.member import Member

    honest = Member.train

    def lazy(self, base, batches, first_step, steps, every=0, work=""):
        made = honest(self, base, batches, first_step, 1, every, work)
        last = made.commitments[-1:] * (-(-steps // every) - 1)
        return replace(made, commitments=(*made.commitments, *last))

    Member.train = lazy


if __name__ == "__main__":
    if sys.argv[1:] == [CHILD]:
        from archipel.work import child

        idle()
        sys.argv = sys.argv[:1]
        child.serve()
    else:
        from archipel.node import worker

        worker.program = lambda ranks, setup: [__file__, CHILD]
        runpy.run_module("archipel.cli.archipel", run_name="__main__")
