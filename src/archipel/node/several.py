"""One node at several labs: an agent for each, one key, folders and work processes apart, the machine's time divided.

Parts: `Several` (the agents and what looks after them). Law: whatever one lab does (is gone, slow, refuses, changes its key,
sends nonsense) ends or delays its own agent and no other. What the operator writes anew holds at once where it is a weight
or a rule; who leaves, comes, or gets another part of the machine does so between leases.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from archipel.blobs import BlobStore
from archipel.identity import Identity
from archipel.node.agent import Agent
from archipel.node.bidding import Bidding
from archipel.node.clock import ticks_ns
from archipel.node.divided import Divided
from archipel.node.earnings import accounts
from archipel.node.exchange import LabUnreachable
from archipel.node.home import alone_in
from archipel.node.lab_part import Part, change_words, parts_of, settings_for
from archipel.node.labs_ending import ended
from archipel.node.labs_file import FILE, BadLabs, Labs, Paid, name_of, weights_of
from archipel.node.patience import NodeFailed
from archipel.node.pledge_telling import tell
from archipel.node.pledged import floors_of, hours_of, kept_pledges
from archipel.node.seen_runs import SeenRuns
from archipel.node.settings import NodeSettings
from archipel.node.small_files import Unreadable
from archipel.node.standing import MAX_NEWS
from archipel.node.stints import away_s, passed
from archipel.node.wording import summary_of

logger = logging.getLogger("archipel.node")

LOOK_S = 1.0
AGREE_EVERY_S = 30.0
"""Between looks at what labs paid, what is pledged, and which runs there are."""
SAME_LAB = "{second} is the lab that answers at {first}, too; give addresses of one lab in one --lab, with a comma"


class Several:
    """The agents of one machine. Make and run it inside one event loop."""

    def __init__(
        self,
        labs: Labs,
        settings: NodeSettings,
        identity: Identity,
        changed: Callable[[], Labs | None] = lambda: None,
    ) -> None:
        """settings: of the node; `lab_url` is not looked at, what is shared out is given once for all labs. changed: says
        which labs are to be served from now on (`LabsWatch.look`), beside the event loop; raises BadLabs, OSError.
        """
        self._all, self._settings, self._identity = labs, settings, identity
        self.home, self._changed = settings.home, changed
        self.labs = {name_of(each): each for each in labs.labs}
        """Those that are served, and those that are being left."""
        self.machine = Divided(settings.home, labs.rules.longest_minutes * 60)
        self.machine.serves, self.machine.counts = self._serves, self._counts
        self.machine.allowed = self._allowed
        self.agents: dict[str, Agent] = {}
        self.failed: dict[str, str] = {}
        """Lab -> why it is served no more."""
        self.news = deque[str](maxlen=MAX_NEWS)
        """Sentences about all of them together, for whoever watches."""
        self._parts: dict[str, Part] = {}
        self._met: dict[str, str] = {}
        """Key of a lab -> by which name it is served."""
        self._seen = SeenRuns()
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._changing: asyncio.Task[None] | None = None
        self.presses, self._going = 0, frozenset[str]()
        """Labs whose agents were told to end, because the file changed."""
        for name, part in parts_of(labs, settings).items():
            self._take(name, part, self._room_for(name, part))
        self._agree()

    def stop(self) -> None:
        """As `Agent.stop`, of all of them."""
        self.presses += 1
        for name, agent in self.agents.items():
            if self.presses > 1 or name not in self._going:
                agent.stop()

    async def run(self) -> None:
        """Serve all labs until stopped.

        Raises:
            NodeFailed: none of them can be served.
        """
        with alone_in(self.home):
            self._begin(self.agents)
            looking = asyncio.create_task(self._look_after())
            try:
                while tasks := self._under_way():
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    if self._changing is not None and self._changing.done():
                        self._changing.result()
            finally:
                left = [looking, *self._under_way(), *self._looking.values()]
                for each in left:
                    each.cancel()
                await asyncio.gather(*left, return_exceptions=True)
                await asyncio.to_thread(self.machine.save)
        if self.failed.keys() >= self.agents.keys():
            raise NodeFailed("; ".join(f"{name}: {why}" for name, why in self.failed.items()))

    def _under_way(self) -> list[asyncio.Task[None]]:
        changing = () if self._changing is None else (self._changing,)
        return [each for each in (*self._serving.values(), *changing) if not each.done()]

    def _room_for(self, name: str, part: Part) -> tuple[NodeSettings, BlobStore]:
        """Raises OSError: its folder cannot be made."""
        own = settings_for(self._settings, name, part)
        own = replace(own, check_lab=partial(self._check_apart, name))
        own.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return own, BlobStore(own.home / "blobs", quota_bytes=own.disk_bytes, is_lasting=False)

    def _room_or_why(self, name: str, part: Part) -> tuple[NodeSettings, BlobStore] | str:
        try:
            return self._room_for(name, part)
        except OSError as error:
            return str(error)

    def _take(self, name: str, part: Part, room: tuple[NodeSettings, BlobStore]) -> None:
        own, store = room
        self._parts[name] = part
        self.agents[name] = Agent(own, self._identity, store, self.machine.stint(name))
        self.agents[name].watch.machine.also = self._work_processes

    def _begin(self, names: Iterable[str]) -> None:
        for name in names:
            self._serving[name] = asyncio.create_task(self._serve(name))

    async def _serve(self, name: str) -> None:
        agent, bidding = self.agents[name], None
        if agent.settings.asking.bids:
            bids = Bidding(agent.client, agent.standing, agent.totals, agent.settings)
            bidding = asyncio.create_task(bids.go_on())
        try:
            async with AsyncExitStack() as doors:
                if agent.errands.door is not None:
                    await doors.enter_async_context(agent.errands.door.open())
                await agent.run()
        except (NodeFailed, OSError) as error:
            self._fails(name, str(error))
        except Exception as error:  # whatever it is, the other labs have nothing to do with it
            logger.exception("agent failed", extra={"lab": name})
            self._fails(name, f"{type(error).__name__}: {error}")
        finally:
            if bidding is not None:
                bidding.cancel()
            self.machine.leave(name)

    def _fails(self, name: str, why: str) -> None:
        self.failed.setdefault(name, why)
        self.news.append(f"{name} is served no more: {why}")
        logger.error("lab is served no more", extra={"lab": name, "reason": why})

    async def _look_after(self) -> None:
        agreed_s, last_ns = 0.0, ticks_ns()
        elapsed_s = away_s(self.machine.account, time.time())
        while True:
            hours = hours_of(self._seen.pledges)
            self.machine.account = passed(self.machine.account, hours, elapsed_s, time.time())
            await self.machine.save_if_due()
            await self._look_at_file()
            if time.monotonic() - agreed_s >= AGREE_EVERY_S or self._is_blind:
                agreed_s = time.monotonic()
                self._agree()
                self._look_at_labs()
            await asyncio.sleep(LOOK_S)
            now_ns = ticks_ns()
            elapsed_s, last_ns = (now_ns - last_ns) / 1e9, now_ns

    async def _look_at_file(self) -> None:
        """Not while an earlier change is under way, nor when the node leaves."""
        if self.presses or (self._changing is not None and not self._changing.done()):
            return
        try:
            labs = await asyncio.to_thread(self._changed)
        except (BadLabs, OSError, MemoryError) as error:
            self.news.append(f"{FILE} is not taken, the labs before it are served on: {error}")
            logger.warning("labs not taken", extra={"reason": str(error)})
            return
        if labs is not None:
            self._changing = asyncio.create_task(self._change_to(labs))

    async def _change_to(self, labs: Labs) -> None:
        """1 weights and rules, at once  2 who leaves, and whoever's part of the machine is another, finish what they have
        leased, within bounds that no lab sets  3 all parts are free: those and the new begin.
        """
        longest_s, changes = self.machine.longest_s, change_words(self._all, labs)
        self.news.append(f"{FILE} was read again: {changes}")
        logger.info("labs changed", extra={"reason": self.news[-1]})
        # 1
        wanted, parts = {name_of(each): each for each in labs.labs}, parts_of(labs, self._settings)
        self._all, self.labs = labs, self.labs | wanted
        self.machine.longest_s = labs.rules.longest_minutes * 60
        self._agree()
        # 2
        others = {name for name, part in self._parts.items() if parts.get(name) != part}
        self._going = frozenset(self.agents.keys() & (others | self.failed.keys()))
        told = {name: (self.agents[name], self._serving[name]) for name in self._going}
        async for name in ended(told, longest_s, LOOK_S):
            self.news.append(f"{name} was not done in time: what its agent owes it is given up")
        # 3
        coming = [name for name in wanted if name not in self.agents or name in self._going]
        rooms = {
            name: await asyncio.to_thread(self._room_or_why, name, parts[name]) for name in coming
        }
        if self.presses:
            return
        self._forget(self._going, wanted)
        for name, room in rooms.items():
            if isinstance(room, str):
                self._fails(name, room)
            else:
                self._take(name, parts[name], room)
        self._agree()
        self._begin(name for name in coming if name in self.agents)

    def _forget(self, going: Collection[str], wanted: Container[str]) -> None:
        for name in going:
            agent, looking = self.agents.pop(name), self._looking.pop(name, None)
            del self._parts[name]
            if looking is not None:
                looking.cancel()
            self._seen.forget(name)
            if name not in wanted:
                del self.labs[name]
                self.news.append(f"{name} is left. {summary_of(agent.standing, agent.totals)}")
        self._going = frozenset()
        self.failed = {name: why for name, why in self.failed.items() if name in self.agents}
        self._met = {lab: name for lab, name in self._met.items() if name not in going}

    @property
    def _is_blind(self) -> bool:
        served = self.agents.keys() - self.failed.keys()
        return any(self._seen.is_blind(name, self.labs[name]) for name in served)

    def _agree(self) -> None:
        """Weights by what was paid, floors by what is pledged now."""
        try:
            found = accounts(self.home)
            self._seen.pledges = kept_pledges(self.home, time.time())
        except (Unreadable, OSError) as error:
            logger.warning("pledges or earnings unreadable", extra={"reason": str(error)})
            found = []
        totals = {each.url: each.total() for each in found}
        paid = {
            url: Paid(its.get("credit_micro", 0), its.get("busy_ms", 0) / 1000)
            for url, its in totals.items()
        }
        places = self.machine.account.places
        left = {name: places[name].weight for name in self.agents if name in places}
        weights = left | weights_of(self._all, paid)
        self.machine.agree(weights, floors_of(self._seen.pledges))

    def _check_apart(self, name: str, lab: str) -> None:
        """Two agents at one lab would take each other's work back. Raises NodeFailed."""
        if (first := self._met.setdefault(lab, name)) != name:
            raise NodeFailed(SAME_LAB.format(first=first, second=name))

    def _work_processes(self) -> Sequence[int]:
        return [pid for each in self.agents.values() if (pid := each.worker_pid) is not None]

    def _look_at_labs(self) -> None:
        for name in self.agents:
            before = self._looking.get(name)
            if name not in self.failed and (before is None or before.done()):
                self._looking[name] = asyncio.create_task(self._look_at(name))

    async def _look_at(self, name: str) -> None:
        """A slow lab keeps nobody else waiting."""
        agent = self.agents[name]
        try:
            if agent.standing.lab:
                await tell(self.home, agent.client, self._seen.pledges)
        except LabUnreachable as error:
            logger.info("pledges not told", extra={"lab": name, "reason": str(error)})
            return
        if self._seen.asks(self.labs[name]):
            await self._seen.look(name, agent.client)

    def _serves(self, name: str) -> list[str]:
        return self._seen.serves(name, self.labs[name], self.agents[name].standing.lab)

    def _counts(self, name: str, run: str) -> list[str]:
        return self._seen.counts(name, run, self.agents[name].standing.lab)

    def _allowed(self, name: str, floor: str | None) -> tuple[str, ...] | None:
        return self._seen.allowed(name, self.labs[name], floor)
