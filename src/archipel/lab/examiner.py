"""The second process of `examining`: `python -m archipel.lab.examiner`, its parent at the other end of standard input.

It is told entries in bundles (`HEADER`, then as many bytes), and says of each bundle how many of its first entries
hold (`ANSWER`). It keeps nothing, writes nothing and ends when its parent does.
"""

import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

from archipel.identity import IdentityError
from archipel.lab.entry import read_entry
from archipel.ledger.tiles import entries_of
from archipel.records.statements import InvalidRecord

READY = b"\x01"
HEADER = struct.Struct(">HI")
"""(entries, bytes) of the bundle that follows."""
ANSWER = struct.Struct(">H")


def serve(parent: socket.socket) -> None:
    """Until the parent has no more, or is gone."""
    with suppress(OSError), parent.makefile("rb") as asked:
        parent.sendall(READY)
        while len(header := asked.read(HEADER.size)) == HEADER.size:
            width, num_bytes = HEADER.unpack(header)
            parent.sendall(ANSWER.pack(num_good(entries_of(asked.read(num_bytes), width))))


def num_good(entries: Sequence[bytes]) -> int:
    """How many entries come before the first that does not hold."""
    for number, data in enumerate(entries):
        try:
            read_entry(data)
        except (InvalidRecord, IdentityError):
            return number
    return len(entries)


if __name__ == "__main__":
    with socket.socket(fileno=sys.stdin.fileno()) as told:
        serve(told)
