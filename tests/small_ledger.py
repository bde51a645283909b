"""A true ledger on disk that grows by nodes which join."""

import asyncio
from pathlib import Path

from archipel.blobs import BlobStore
from archipel.identity import Identity
from archipel.lab.lab import Lab
from archipel.ledger.location import open_log
from archipel.ledger.verification import lab_key
from archipel.records.statements import NodeJoined
from people import envelope
from specimens import CAPABILITIES

LAB = Identity.from_seed(bytes(31) + b"\x09")


def grow(folder: Path, first: int, num: int, now_ms: int = 1_700_000_000_000) -> Path:
    """The lab's ledger in `folder`, after nodes number `first` to `first + num` have joined."""
    folder.mkdir(exist_ok=True)
    path = folder / "ledger.sqlite"
    log = open_log(path, lab_key(LAB.did).name, LAB, folder / "ledger.head")

    async def join() -> None:
        lab = Lab(LAB, log, BlobStore(folder / "blobs"), lambda: now_ms, in_thread=False)
        await lab.found([LAB.did])
        for number in range(first, first + num):
            node = Identity.from_seed(bytes(30) + number.to_bytes(2))
            said = NodeJoined(lab=LAB.did, author=node.did, seq=1, capabilities=CAPABILITIES)
            await lab.submit(envelope(node, said))
            await lab.settled()

    asyncio.run(join())
    log.close()
    return path
