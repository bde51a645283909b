"""The trusted child as one of several ranks of a site: `torchrun ... -m archipel.work.ranks`.

The first rank talks to the agent and hands each message to the others; all take part in work of a kind
that is shared, and only the first writes and answers. They meet over loopback and start threads before they hear what
they may read, so they are not confined (their graders are). Law: every rank sees the same messages in the same order,
and reaches the same collectives; one that fails alone is ended by its deadline.
"""

import os
import sys

from archipel.training.sharding import join_site, share_bytes
from archipel.work.child import Child, end_with_parent, private_output
from archipel.work.messages import MAX_LINE_BYTES, Ready, read_setup, read_to_child


def serve() -> None:
    """Run until the first rank's standard input ends."""
    import torch

    answers = private_output()
    site = join_site()

    def next_line() -> bytes:
        return share_bytes(
            sys.stdin.buffer.readline(MAX_LINE_BYTES) if site.is_first else b"", site
        )

    setup = read_setup(next_line())
    end_with_parent()
    torch.set_num_threads(setup.threads)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  not a path of ours
        child = Child(setup, answers if site.is_first else nowhere)
        child.say(Ready(protections=()))
        while line := next_line():
            message = read_to_child(line)
            if site.is_first or child.is_shared(message):
                child.say(child.answer(message))


if __name__ == "__main__":
    serve()
