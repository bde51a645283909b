"""Hands of a door whose work nodes of a network do, as `archipel door start --lab URL --run NAME` takes them.

Parts: `Network` (where, and by which key), `network_hands`. Law: the run's opening is believed as a node believes it, and only
its configuration and tokenizer are fetched.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.cli.doors import Mendable, mending
from archipel.cli.keys import load_key

if TYPE_CHECKING:
    from archipel.door.remote.hands import RemoteHands
    from archipel.door.remote.training import Site
    from archipel.identity import Identity
    from archipel.node.client import LabClient
    from archipel.records.statements import RunOpened


@dataclass(frozen=True)
class Network:
    """A door's run at a lab."""

    lab: str
    """The lab's address."""
    run: str
    key: Path
    """File of the door's own key, which the run names."""
    names: tuple[str, ...] = ()
    """What clients call the run's model; none: as the run is called."""
    tokenizer: str | None = None
    """What clients load as its tokenizer; None: the first name."""


@asynccontextmanager
async def network_hands(network: Network, folder: Path) -> AsyncIterator["RemoteHands"]:
    """Hands over a run, as long as the block lasts.

    folder: of the door's own, for what is fetched and what is on its way.

    Raises:
        Mendable: the lab or the run is none, or not for this key.
    """
    from archipel.cli.door_at_lab import DoorAtLab
    from archipel.door.hands import HandsLost
    from archipel.door.remote.asking import Patience
    from archipel.door.remote.hands import open_hands
    from archipel.node.client import LabClient
    from archipel.node.exchange import LabRefused, LabUnreachable

    identity = load_key(network.key)
    async with LabClient(network.lab, identity) as client:
        with mending(LabUnreachable, LabRefused):
            await client.greet()
            opened = await _opened(client, network.run)
            await _fetch_model(client, opened, folder)
        site = _site(opened, identity, network, folder / "model")
        with mending(HandsLost):
            at_lab = DoorAtLab(client, opened, folder / "on-its-way")
            hands = await open_hands(at_lab, site, folder, Patience())
        try:
            yield hands
        finally:
            hands.close()


def _site(opened: "RunOpened", identity: "Identity", network: Network, model: Path) -> "Site":
    """What the run is, for its door. Raises Mendable: it is another programme's, or another key's."""
    from archipel.door.hands import ServedModel
    from archipel.door.remote.training import Site
    from archipel.model.config_files import InvalidModel, read_config
    from archipel.records.programmes.door import DoorPace

    pace = opened.pace
    if not isinstance(pace, DoorPace):
        raise Mendable(f"{opened.run} follows {pace.programme}; expected a run of programme door")
    if pace.door != identity.did:
        raise Mendable(
            f"{network.key} is {identity.did}; the door of {opened.run} is {pace.door}: name that key with --key"
        )
    with mending(InvalidModel):
        config = read_config(model)
    names = network.names or (opened.run,)
    tokenizer = network.tokenizer or names[0]
    longest, size = config.max_position_embeddings, config.vocab_size
    served = tuple(
        ServedModel(name, longest, size, tokenizer, config.family, config.eos_token_ids)
        for name in names
    )
    salt = hashlib.sha256(identity.sign_bytes(b"tenants of " + opened.run.encode())).digest()
    return Site(opened.run, pace, served, salt)


async def _opened(client: "LabClient", run: str) -> "RunOpened":
    from archipel.node.exchange import believed
    from archipel.node.sealed import opening_of
    from archipel.records.documents import Opening

    sealed = (await client.read(Opening, f"/runs/{run}/opening")).opening
    founding = client.founding
    return believed(lambda: opening_of(sealed, founding, run))


async def _fetch_model(client: "LabClient", opened: "RunOpened", folder: Path) -> None:
    """Configuration and tokenizer, without weights."""
    from archipel.blobs import BlobStore
    from archipel.blobs.errors import StorageFull
    from archipel.node.operator import copy_file, is_copy_of

    with mending(StorageFull, OSError):
        store = BlobStore(folder / "blobs")
        for file in opened.model:
            target = folder / "model" / file.name
            if file.name.endswith(".safetensors"):
                continue
            if not await asyncio.to_thread(is_copy_of, target, file.blob):
                path = await client.fetch(file.blob, store)
                await asyncio.to_thread(copy_file, path, target)
