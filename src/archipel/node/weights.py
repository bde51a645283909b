"""Which weights to fetch, and fetching them: anchors and deltas, each verified on arrival."""

from archipel.blobs import BlobStore
from archipel.node.client import LabClient
from archipel.node.decide import chain_to
from archipel.node.documents import VersionEntry
from archipel.node.exchange import LabRefused
from archipel.work.messages import LinkMessage


class Weights:
    """Remembers what the lab said of each run's versions, so that only news is asked for."""

    def __init__(self, client: LabClient, store: BlobStore) -> None:
        self._client = client
        self._store = store
        self._known: dict[str, dict[int, VersionEntry]] = {}

    def forget(self) -> None:
        """The lab is another one."""
        self._known.clear()

    async def chain(self, run: str, held: int, target: int) -> list[LinkMessage]:
        """Files that lead from version `held` (-1: none) to `target`, in order.

        Raises:
            LabUnreachable, LabRefused: from the lab; also when its list does not lead there.
        """
        known = self._known.setdefault(run, {})
        while target not in known:
            since = max(known, default=-1) + 1
            page = await self._client.read_all(VersionEntry, f"/runs/{run}/versions", since=since)
            fresh = {entry.version: entry for entry in page if entry.version >= since}
            if not fresh:
                break
            known |= fresh
        try:
            steps = chain_to(list(known.values()), held, target)
        except ValueError as error:
            raise LabRefused("broken-chain", str(error), 200) from None
        return [await self._fetched(entry, step) for entry, step in steps]

    async def _fetched(self, entry: VersionEntry, step: str) -> LinkMessage:
        blob = entry.anchor if step == "anchor" else entry.delta
        if blob is None:
            raise LabRefused("broken-chain", f"version {entry.version} has no {step}", 200)
        manifest = str(await self._client.fetch(entry.manifest, self._store))
        weights = str(await self._client.fetch(blob, self._store))
        return LinkMessage(
            version=entry.version,
            policy=entry.policy,
            manifest=manifest,
            anchor=weights if step == "anchor" else None,
            delta=weights if step == "delta" else None,
        )
