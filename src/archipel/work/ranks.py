"""The trusted child as one of several ranks of a site: `torchrun ... -m archipel.work.ranks SETUP HOSTS [RANK RANKS FILE]`.

The first rank talks to the agent and hands each message to the others; all take part in work of a kind
that is shared, and only the first writes and answers. Each rank confines itself before it loads anything heavy, as a
child alone does, but for the network: ranks meet over sockets (gloo, NCCL), and which they will be nobody knows
before. Law: every rank sees the same messages in the same order, and reaches the same collectives; one that fails
alone is ended by its deadline.
"""

import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.work.child import Child, confine
from archipel.work.messages import MAX_LINE_BYTES, Ready, read_setup, read_to_child
from archipel.work.pipes import private_output

if TYPE_CHECKING:
    from archipel.training.sharding import Site


def require_one_folder(folder: Path, site: "Site") -> None:
    """Every rank reads what the first was sent, and writes beside it. A collective.

    Raises:
        SystemExit: on every rank, when one does not see the folder of the first.
    """
    from archipel.training.sharding import all_ranks_say, share_bytes

    mark = share_bytes(secrets.token_hex(8).encode(), site).decode()
    place = folder / f"site-{mark}"
    if site.is_first:
        place.touch()
    share_bytes(b"", site)  # it is there now
    seen = all_ranks_say(bytes([place.exists()]), site)
    if site.is_first:
        place.unlink()
    if blind := [rank for rank, each in enumerate(seen) if not each[0]]:
        raise SystemExit(
            f"ranks {blind} do not see the first rank's folder {folder}; give every host the same --home, on a file "
            "system that all of them share"
        )


def _near(words: list[str]) -> tuple[int, int, str] | None:
    """How ranks of one host find each other, as they were started."""
    if not words:
        return None
    rank, world, file = words
    return int(rank), int(world), file


def serve() -> None:
    """Run until the first rank's standard input ends."""
    answers = private_output()
    said = sys.argv[1].encode()  # every rank's own: the first one's input is not theirs
    setup = read_setup(said)
    protections = confine(setup, meets_others=True)
    import torch

    from archipel.training.sharding import join_site, own_device, share_bytes

    torch.set_num_threads(setup.threads)
    setup = setup.model_copy(update={"device": own_device(setup.device)})
    site = join_site(hosts=int(sys.argv[2]), near=_near(sys.argv[3:]))
    require_one_folder(setup.scratch, site)
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
