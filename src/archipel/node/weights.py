"""Which weights to fetch, and fetching them: anchors and deltas, each verified on arrival."""

from collections.abc import Mapping
from typing import Any

from archipel.blobs import BlobStore
from archipel.node.client import LabClient
from archipel.node.decide import chain_to
from archipel.records.fields import BlobRef
from archipel.work.messages import LinkMessage


class Weights:
    """Remembers what the lab said of each run's versions, so that only news is asked for."""

    def __init__(self, client: LabClient, store: BlobStore) -> None:
        self._client = client
        self._store = store
        self._known: dict[str, dict[int, dict[str, Any]]] = {}

    async def chain(self, run: str, held: int, target: int) -> list[LinkMessage]:
        """Files that lead from version `held` (-1: none) to `target`, in order.

        Raises:
            LabUnreachable, LabRefused: from the lab.
            ValueError: the lab's list does not lead there.
        """
        known = self._known.setdefault(run, {})
        since = max(known, default=-1) + 1
        while target not in known:
            page = await self._client.get(f"/runs/{run}/versions", since=since)
            if not page:
                break
            known |= {int(entry["version"]): entry for entry in page}
            since = max(known) + 1
        return [
            await self._fetched(entry, first=position == 0, held=held)
            for position, entry in enumerate(chain_to(list(known.values()), held, target))
        ]

    async def _fetched(self, entry: Mapping[str, Any], *, first: bool, held: int) -> LinkMessage:
        """The delta, except where the chain starts from nothing."""
        step = "anchor" if first and held < 0 else "delta"
        files = {
            name: str(await self._client.fetch(BlobRef.model_validate(entry[name]), self._store))
            for name in ("manifest", step)
        }
        return LinkMessage(
            version=entry["version"],
            policy=entry["policy"],
            manifest=files["manifest"],
            anchor=files.get("anchor"),
            delta=files.get("delta"),
        )
