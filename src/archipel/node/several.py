"""One node at several labs: an agent for each, one key, folders and work processes apart, the machine's time divided.

Parts: `Several` (the agents and what looks after them), `settings_for` (one lab's part of the machine). Law: whatever one
lab does (is gone, slow, refuses, changes its key, sends nonsense) ends or delays its own agent and no other.
"""

import asyncio
import hashlib
import logging
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from archipel.blobs import BlobStore
from archipel.identity import Identity
from archipel.node.agent import Agent
from archipel.node.divided import Divided
from archipel.node.earnings import accounts
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.home import alone_in
from archipel.node.labs_file import Labs, Paid, Served, name_of, weights_of
from archipel.node.patience import NodeFailed
from archipel.node.pledge_telling import tell
from archipel.node.pledged import Pledged, floors_of, hours_of, kept_pledges, names_of
from archipel.node.settings import MIN_MEMORY_BYTES, NodeSettings
from archipel.node.small_files import Unreadable
from archipel.node.stints import passed
from archipel.records.documents import RunView

logger = logging.getLogger("archipel.node")

FOLDER = "serving"
"""In the node's home: a folder for each lab."""
LOOK_S = 1.0
AGREE_EVERY_S = 30.0
"""Between looks at what labs paid, what is pledged, and which runs there are."""
MAX_RUNS_SEEN = 64
"""Of one lab, that are asked for by name."""
SAME_LAB = "{second} is the lab that answers at {first}, too; give addresses of one lab in one --lab, with a comma"


class Several:
    """The agents of one machine. Make and run it inside one event loop."""

    def __init__(self, labs: Labs, settings: NodeSettings, identity: Identity) -> None:
        """settings: of the node; `lab_url` is not looked at, what is shared out is given once for all labs."""
        self.labs = {name_of(each): each for each in labs.labs}
        self._all, self.home = labs, settings.home
        self.machine = Divided(settings.home, labs.rules.longest_minutes * 60)
        self.machine.serves, self.machine.counts = self._serves, self._counts
        self.machine.allowed = self._allowed
        self.agents: dict[str, Agent] = {}
        self._met: dict[str, str] = {}
        """Key of a lab -> by which name it is served."""
        for name, served in self.labs.items():
            own = settings_for(settings, served, len(self.labs))
            own = replace(own, check_lab=partial(self._check_apart, name))
            own.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            store = BlobStore(own.home / "blobs", quota_bytes=own.disk_bytes, is_lasting=False)
            self.agents[name] = Agent(own, identity, store, self.machine.stint(name))
            self.agents[name].watch.machine.also = self._work_processes
        self.failed: dict[str, str] = {}
        """Lab -> why it is served no more."""
        self.pledges: tuple[Pledged, ...] = ()
        self._runs: dict[str, Mapping[str, tuple[str, ...]]] = {}
        """Lab -> its open runs, as it shows them, with their purposes; none: not seen yet."""
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._agree()

    def stop(self) -> None:
        """As `Agent.stop`, of all of them."""
        for agent in self.agents.values():
            agent.stop()

    async def run(self) -> None:
        """Serve all labs until stopped.

        Raises:
            NodeFailed: none of them can be served.
        """
        with alone_in(self.home):
            looking = asyncio.create_task(self._look_after())
            try:
                await asyncio.gather(*(self._serve(name) for name in self.agents))
            finally:
                looking.cancel()
                await asyncio.gather(looking, *self._looking.values(), return_exceptions=True)
                await asyncio.to_thread(self.machine.save)
        if len(self.failed) == len(self.agents):
            raise NodeFailed("; ".join(f"{name}: {why}" for name, why in self.failed.items()))

    async def _serve(self, name: str) -> None:
        agent = self.agents[name]
        try:
            await agent.run()
        except NodeFailed as error:
            self._fails(name, str(error))
        except Exception as error:  # whatever it is, the other labs have nothing to do with it
            logger.exception("agent failed", extra={"lab": name})
            self._fails(name, f"{type(error).__name__}: {error}")
        finally:
            self.machine.leave(name)

    def _fails(self, name: str, why: str) -> None:
        self.failed.setdefault(name, why)
        self.agents[name].standing.news.append(f"served no more: {why}")
        logger.error("lab is served no more", extra={"lab": name, "reason": why})

    async def _look_after(self) -> None:
        agreed_s = 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            hours = hours_of(self.pledges)
            self.machine.account = passed(self.machine.account, hours, time.time())
            await self.machine.save_if_due()
            if time.monotonic() - agreed_s >= AGREE_EVERY_S or self._is_blind:
                agreed_s = time.monotonic()
                self._agree()
                self._look_at_labs()

    @property
    def _is_blind(self) -> bool:
        return any(self._asks_by_run(name) and name not in self._runs for name in self.labs)

    def _agree(self) -> None:
        """Weights by what was paid, floors by what is pledged now."""
        try:
            found, self.pledges = accounts(self.home), kept_pledges(self.home, time.time())
        except (Unreadable, OSError) as error:
            logger.warning("pledges or earnings unreadable", extra={"reason": str(error)})
            found = []
        totals = {each.url: each.total() for each in found}
        paid = {
            url: Paid(its.get("credit_micro", 0), its.get("busy_ms", 0) / 1000)
            for url, its in totals.items()
        }
        self.machine.agree(weights_of(self._all, paid), floors_of(self.pledges))

    def _check_apart(self, name: str, lab: str) -> None:
        """Two agents at one lab would take each other's work back. Raises NodeFailed."""
        first = self._met.setdefault(lab, name)
        if first != name:
            raise NodeFailed(SAME_LAB.format(first=first, second=name))

    def _work_processes(self) -> Sequence[int]:
        return [pid for each in self.agents.values() if (pid := each.worker_pid) is not None]

    def _asks_by_run(self, name: str) -> bool:
        return self.labs[name].is_particular or any(each.purpose for each in self.pledges)

    def _look_at_labs(self) -> None:
        for name in self.labs:
            before = self._looking.get(name)
            if name not in self.failed and (before is None or before.done()):
                self._looking[name] = asyncio.create_task(self._look_at(name))

    async def _look_at(self, name: str) -> None:
        """A slow lab keeps nobody else waiting."""
        agent = self.agents[name]
        try:
            if agent.standing.lab:
                await tell(self.home, agent.client, self.pledges)
            if not self._asks_by_run(name):
                return
            views = await agent.client.read_all(RunView, "/runs")
        except (LabRefused, LabUnreachable) as error:
            logger.info("no look at runs", extra={"lab": name, "reason": str(error)})
            return
        self._runs[name] = {
            each.run: each.purposes or () for each in views if each.phase not in OVER
        }

    def _runs_of(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """Those that may be worked for."""
        served = self.labs[name]
        seen = self._runs.get(name, {})
        return {run: purposes for run, purposes in seen.items() if served.takes(run, purposes)}

    def _serves(self, name: str) -> list[str]:
        wanted = {purpose for each in self._runs_of(name).values() for purpose in each}
        return names_of(self.pledges, self.agents[name].standing.lab, name, wanted)

    def _counts(self, name: str, run: str) -> list[str]:
        purposes = self._runs.get(name, {}).get(run, ())
        return names_of(self.pledges, self.agents[name].standing.lab, name, purposes)

    def _allowed(self, name: str, floor: str | None) -> tuple[str, ...] | None:
        purpose = next((each.purpose for each in self.pledges if each.name == floor), None)
        if purpose is None and not self.labs[name].is_particular:
            return None
        found = self._runs_of(name)
        chosen = [run for run, its in found.items() if purpose is None or purpose in its]
        return tuple(chosen[:MAX_RUNS_SEEN])


OVER = ("complete", "stopped")


def settings_for(settings: NodeSettings, served: Served, num_labs: int) -> NodeSettings:
    """One lab's part: a folder of its own, and an equal share of memory and disk."""
    home = settings.home / FOLDER / folder_of(name_of(served))
    memory = settings.memory_bound()
    return replace(
        settings,
        lab_url=name_of(served),
        home=home,
        node_home=settings.home,
        lab_key=served.key,
        max_memory_bytes=None if memory is None else max(memory // num_labs, MIN_MEMORY_BYTES),
        lasting_bytes=settings.lasting_bytes // num_labs,
        cache_bytes=settings.cache_bytes // num_labs,
        max_scratch_bytes=settings.max_scratch_bytes // num_labs,
        disk_bytes=_part_of_disk(settings, home, num_labs),
    )


def folder_of(name: str) -> str:
    """A lab's own folder, that people know again."""
    host = re.sub(r"[^a-z0-9.-]+", "-", name.partition("://")[2].partition(",")[0])[:48]
    return f"{host.strip('-.') or 'lab'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _part_of_disk(settings: NodeSettings, home: Path, num_labs: int) -> int:
    """What one lab's fetched blobs may fill; one part more stays free for everything else."""
    free = shutil.disk_usage(settings.home).free
    own = sum(each.stat().st_size for each in (home / "blobs").rglob("*") if each.is_file())
    return min(settings.disk_bytes, free // (num_labs + 1) + own)
