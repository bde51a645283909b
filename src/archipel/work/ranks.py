"""The trusted child as one of several ranks of a site: `torchrun ... -m archipel.work.ranks SETUP`.

The first rank talks to the agent and hands each message to the others; all take part in work of a kind
that is shared, and only the first writes and answers. Each rank confines itself before it loads anything heavy, as a
child alone does, but for the network: ranks meet over sockets (gloo, NCCL), and which they will be nobody knows
before. Law: every rank sees the same messages in the same order, and reaches the same collectives; one that fails
alone is ended by its deadline.
"""

import os
import sys

from archipel.work.child import Child, confine
from archipel.work.messages import MAX_LINE_BYTES, Ready, read_setup, read_to_child
from archipel.work.pipes import private_output


def serve() -> None:
    """Run until the first rank's standard input ends."""
    answers = private_output()
    said = sys.argv[1].encode()  # every rank's own: the first one's input is not theirs
    setup = read_setup(said)
    protections = confine(setup, meets_others=True)
    import torch

    from archipel.training.sharding import join_site, share_bytes

    torch.set_num_threads(setup.threads)
    site = join_site()
    if site.is_first and sys.stdin.buffer.readline(MAX_LINE_BYTES).strip() != said.strip():
        raise SystemExit("the agent asks for another setup than the ranks were started with")

    def next_line() -> bytes:
        return share_bytes(
            sys.stdin.buffer.readline(MAX_LINE_BYTES) if site.is_first else b"", site
        )

    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  not a path of ours
        child = Child(setup, answers if site.is_first else nowhere)
        child.say(Ready(protections=protections))
        while line := next_line():
            message = read_to_child(line)
            if site.is_first or child.is_shared(message):
                child.say(child.answer(message))


if __name__ == "__main__":
    serve()
