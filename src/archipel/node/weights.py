"""Which weights to fetch, and fetching them: anchors and deltas, each verified on arrival.

What there is to fetch is said by publications, which a key that the run trusts has signed.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

from archipel.node.client import LabReader
from archipel.node.exchange import LabRefused, believed
from archipel.node.parts import Fetch, Told, in_parts
from archipel.node.sealed import NotBelieved, publication_of
from archipel.records.chain import Publication, chain_to
from archipel.records.documents import MAX_VERSIONS_PER_PAGE
from archipel.records.statements import RunOpened
from archipel.records.weight_parts import InParts
from archipel.work.messages import LinkMessage

logger = logging.getLogger("archipel.node")

MAX_PAGES = 128
"""Of publications: more than a run's longest keeping fills (100,000 versions)."""
FEW = 4
"""So many publications are verified faster than a thread is asked to."""


class Known:
    """Publications of one run, from the anchor on that is in use."""

    def __init__(self) -> None:
        self.versions: dict[int, Publication] = {}
        """By number."""
        self.newest = -1
        self._oldest = 0
        self._anchors: set[int] = set()

    def add(self, found: Mapping[int, Publication]) -> None:
        """Take note of these."""
        self.versions |= found
        self.newest = max(self.newest, *found, -1)
        self._oldest = min(self._oldest, *found, self.newest)
        self._anchors.update(number for number, made in found.items() if made.anchor is not None)

    def forget_before(self, lowest: int) -> None:
        """Drop what lies before the newest anchor that leads to version `lowest`."""
        first = max((number for number in self._anchors if number <= lowest), default=-1)
        if self._oldest < first:
            self._oldest = first
            self.versions = {n: made for n, made in self.versions.items() if n >= first}
            self._anchors = {number for number in self._anchors if number >= first}


class Weights:
    """Remembers what was published in each run, so that only news is asked for."""

    def __init__(self, lab: LabReader, fetch: Fetch) -> None:
        self._lab = lab
        self._fetch = fetch
        self._known: defaultdict[str, Known] = defaultdict(Known)

    def forget(self) -> None:
        """The lab is another one."""
        self._known.clear()

    def forget_other(self, run: str, version: int, policy: str) -> bool:
        """Whether this version was known with another digest than work names: the lab's ledger was put back to an earlier
        state, say, and went on from there. What was known of the run goes then.
        """
        known = self._known[run].versions.get(version) if run in self._known else None
        if known is None or known.policy == policy:
            return False
        del self._known[run]
        return True

    def newest(self, run: str) -> int:
        """Newest version whose publication is known; -1 for none."""
        return self._known[run].newest if run in self._known else -1

    async def learn(self, opened: RunOpened, sealed: Sequence[str]) -> int:
        """Take note of publications; returns the newest version among them, -1 for none.

        Raises:
            LabRefused: `bad-version`, one of them does not hold, or contradicts what is known.
        """
        known, labs = self._known[opened.run], self._lab.founding.labs
        if len(sealed) <= FEW:
            found = believed(lambda: _all_opened(sealed, opened, known.versions, labs))
        else:
            found = await asyncio.to_thread(
                believed, lambda: _all_opened(sealed, opened, known.versions, labs)
            )
        known.add(found)
        return max(found, default=-1)

    async def policy_of(self, opened: RunOpened, version: int) -> str | None:
        """State digest of a version in the ledger as the lab shows it now, whatever is known of another one; None: it is not there.

        Raises:
            LabUnreachable, LabRefused: from the lab; also when its word does not hold.
        """
        path = f"/runs/{opened.run}/versions"
        page = await self._lab.get(path, since=version)
        if not isinstance(page, list) or not all(isinstance(each, str) for each in page):
            raise LabRefused("unexpected-answer", f"{path} is no list of records", 200)
        labs = self._lab.founding.labs
        found = believed(lambda: _all_opened(page[:1], opened, {}, labs))
        return found[version].policy if version in found else None

    async def chain(
        self, opened: RunOpened, held: int, target: int, lowest: int
    ) -> list[LinkMessage]:
        """Files that lead from version `held` (-1: none) to `target`, in order.

        lowest: the oldest version that is still in use; what lies before the anchor that leads there is
        forgotten.

        Raises:
            LabUnreachable, LabRefused: from the lab; also when its list does not lead there.
        """
        steps = await self.steps(opened, held, target)
        self._known[opened.run].forget_before(lowest)
        return [await self._fetched(entry, step) for entry, step in steps]

    async def steps(
        self, opened: RunOpened, held: int, target: int
    ) -> list[tuple[Publication, str]]:
        """The publications that lead from version `held` (-1: none) to `target`, each with "anchor" or "delta".

        Raises:
            LabUnreachable, LabRefused: from the lab; also when its list does not lead there.
        """
        known = self._known[opened.run]
        try:
            return chain_to(known.versions.get, held, target)
        except ValueError:
            await self._read_on(opened, 0 if target <= known.newest else known.newest + 1, target)
        try:
            return chain_to(known.versions.get, held, target)
        except ValueError as error:
            raise LabRefused("broken-chain", str(error), 200) from None

    async def _read_on(self, opened: RunOpened, since: int, target: int) -> None:
        """The lab's list from version `since` on, until `target` is in it."""
        path = f"/runs/{opened.run}/versions"
        for _ in range(MAX_PAGES):
            page = await self._lab.get(path, since=since)
            if not isinstance(page, list) or not all(isinstance(each, str) for each in page):
                raise LabRefused("unexpected-answer", f"{path} is no list of records", 200)
            newest = await self.learn(opened, page[:MAX_VERSIONS_PER_PAGE])
            if newest < since or newest >= target:
                return
            since = newest + 1

    async def _fetched(self, entry: Publication, step: str) -> LinkMessage:
        if isinstance(entry.manifest, InParts):
            return await in_parts(entry, step, self._fetch, _tells(entry, step))
        blob = entry.anchor if step == "anchor" else entry.delta
        if blob is None:
            raise LabRefused("broken-chain", f"version {entry.version} has no {step}", 200)
        manifest, weights = await self._fetch(entry.manifest, blob)
        return LinkMessage(
            version=entry.version,
            policy=entry.policy,
            manifest=manifest,
            anchor=weights if step == "anchor" else None,
            delta=weights if step == "delta" else None,
        )


def _tells(entry: Publication, step: str) -> Told:
    """A line in the log for every tenth of a version's bytes."""
    tenth = 0

    def told(here: int, wanted: int) -> None:
        nonlocal tenth
        if wanted and 10 * here // wanted > tenth:
            tenth = 10 * here // wanted
            said = {"version": entry.version, "of": step, "bytes": here, "of_bytes": wanted}
            logger.info("parts", extra=said)

    return told


def _all_opened(
    sealed: Sequence[str],
    opened: RunOpened,
    known: Mapping[int, Publication],
    labs: frozenset[str],
) -> dict[int, Publication]:
    found: dict[int, Publication] = {}
    for each in sealed:
        made = publication_of(each, opened, labs)
        before = known.get(made.version) or found.get(made.version)
        if before is not None and before.policy != made.policy:
            raise NotBelieved(
                "bad-version",
                f"version {made.version} of {opened.run} has policy {made.policy}, "
                f"and had {before.policy}",
            )
        found[made.version] = made
    return found
