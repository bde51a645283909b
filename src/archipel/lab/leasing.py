"""Handing out leases: who waits, what there is, and when which lease runs out.

Law: first come, first served, among those who have room for more work; whoever has none is not looked at
again before one of its leases ends. Nothing is awaited between deciding on a lease and folding it.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from archipel.lab import refusals
from archipel.lab.awards import takes_newcomers
from archipel.lab.candidates import MANY, called_to, strangers, trusted_for
from archipel.lab.commit import Writer
from archipel.lab.company import Crowds, crowds
from archipel.lab.deadlines import Deadlines
from archipel.lab.decide import (
    Opportunity,
    expired_leases,
    grant,
    is_idle,
    late_leases,
    may_be_given_more,
    opportunities,
    second_copy,
)
from archipel.lab.endings import ended_leases
from archipel.lab.entry import Entry
from archipel.lab.qualities import KIND
from archipel.lab.remnants import Remnants
from archipel.lab.standby import is_late, is_starved
from archipel.lab.state import Lease
from archipel.lab.waiting import Granted, Waiter, Waiting, told_when_durable
from archipel.lab.working_set import WorkingSet
from archipel.records.audits import AuditsDrawn
from archipel.records.membership import NodePaused, NodeResumed
from archipel.records.rounds import MarketCleared
from archipel.records.statements import LeaseExpired, LeaseGranted, LeaseRequested, RunOpened
from archipel.records.statements import Recorded as RecordedStatement

MAX_EXPIRED_AT_ONCE = 1000
"""Leases that one look at the deadlines takes back: a twentieth of a second on the event loop; the next look goes on."""
NEWCOMERS_AT_ONCE = 8
"""So many of those that wait for room among newcomers are looked at when there is some."""
NODES_PER_MS = 10
"""How the nodes are together is computed again after one millisecond per so many nodes."""
BRINGS_WORK = MarketCleared | RunOpened | AuditsDrawn
"""What may give work to nodes of which no market buys."""


class Leasing:
    """Of one lab, over what its committer has accepted."""

    def __init__(
        self,
        committer: Writer,
        signed: Callable[[RecordedStatement], Entry],
        clock_ms: Callable[[], int],
        company_ms: int = 0,
        remnants: Remnants | None = None,
    ) -> None:
        """`signed` makes an entry of a statement of the lab's own; how nodes are together lasts for `company_ms` at least;
        `remnants`: what is held because of leases, where anything is.
        """
        self._company_ms = company_ms
        self._remnants = remnants
        self._committer = committer
        self._signed = signed
        self._clock_ms = clock_ms
        self._waiting = Waiting()
        self._asked: dict[str, int] = {}
        """Node -> its newest request, granted or not."""
        self.asked_ms: dict[str, int] = {}
        """When each node asked for work last, with or without success, since this lab started."""
        self._deadlines = Deadlines(committer.ahead.leases.values())
        self._crowds: tuple[int, Crowds] = (0, {})
        self._sets: dict[str, WorkingSet] = {}
        """Run -> who works for it, as last looked at."""
        self._takes_newcomers = False
        self._closing = False

    def asks(self, request: LeaseRequested, granted: "Granted | None" = None) -> Waiter:
        """An admitted request; its node's older one ends. granted: what ends with its lease; None: a new future.

        Raises:
            Replayed: it was made before.
        """
        if request.seq <= self._asked.get(request.author, 0):
            raise refusals.Replayed(f"lease request {request.seq} was made before")
        self._waiting.send_off(request.author)
        self._asked[request.author] = request.seq
        self.asked_ms[request.author] = self._clock_ms()
        node = self._committer.ahead.nodes.get(request.author)
        meets = () if node is None else node.meets
        return Waiter(request, granted or asyncio.get_running_loop().create_future(), meets)

    @property
    def line(self) -> Waiting:
        """Who waits; whoever joins it is served by the next `offer`."""
        return self._waiting

    async def wait(self, waiter: Waiter, timeout_s: float) -> Entry | None:
        """The grant, once there is one and it is durable; None when the time is up.

        Raises:
            Refused: the disk has no room for the grant.
        """
        self._waiting.join(waiter)
        try:
            self.offer()
            return await self._answered_in(waiter, timeout_s)
        finally:
            self._waiting.leave(waiter)

    def at_once(self, waiter: Waiter) -> bool:
        """Whether there is a lease for this node now; `waiter.granted` then ends with it."""
        return self._grant(waiter, opportunities(self._committer.ahead))

    def has_any(self) -> bool:
        """Whether there is anything to hand out."""
        return bool(opportunities(self._committer.ahead))

    def overdue(self) -> list[LeaseExpired]:
        """Statements for the leases that ran out first; whoever cannot record them calls `begin_anew`."""
        now_ms = self._clock_ms()
        due = self._deadlines.due(now_ms, MAX_EXPIRED_AT_ONCE)
        return expired_leases(self._committer.ahead, due, now_ms)

    def begin_anew(self) -> None:
        """Leases that had ended, as it seemed, are open again."""
        self._deadlines.begin_anew(self._committer.ahead.leases.values())
        self._waiting.take_back_all()

    def follow(self, said: RecordedStatement, ended: Sequence[Lease]) -> None:
        """Whose leases have ended, or who came back, may get more; and so may everybody once other work is bought, or
        work of other nodes, or work that no market buys comes back.
        """
        self._follow_sets()
        if isinstance(said, BRINGS_WORK) or any(lease.spec.kind != KIND for lease in ended):
            self._waiting.take_back_all()
        if isinstance(said, NodePaused):  # it is told so, and waits again
            self._waiting.send_off(said.node)
        elif isinstance(said, NodeResumed):
            self._waiting.take_back(said.node)
        for did in (said.author, *(lease.node for lease in ended)):
            self._waiting.take_back(did)

    def _follow_sets(self) -> None:
        """Who waited on standby and is needed now may get work. Decided anew, or too small, a set may let others in."""
        state = self._committer.ahead
        before, self._sets = self._sets, {name: state.runs[name].working for name in state.live}
        for name, known in self._sets.items():
            then = before.get(name, known)
            if known.entry != then.entry or known.suffices is not then.suffices:
                self._waiting.take_back_where(
                    lambda did: may_be_given_more(state, did, self._clock_ms())
                )
            elif known.members is not then.members:
                self._waiting.take_back_where(known.members.__contains__)
        self._let_newcomers_in()

    def _let_newcomers_in(self) -> None:
        """Few come back at a time: there is room for few."""
        state = self._committer.ahead
        takes, took = takes_newcomers(state, self._clock_ms()), self._takes_newcomers
        self._takes_newcomers = takes
        if takes and not took:
            self._waiting.take_back_where(
                lambda did: may_be_given_more(state, did, self._clock_ms()), NEWCOMERS_AT_ONCE
            )

    def forget(self, dids: Iterable[str]) -> None:
        """These nodes are gone."""
        for did in dids:
            self._asked.pop(did, None)
            self.asked_ms.pop(did, None)

    def close(self) -> None:
        """Let everybody who waits go, empty-handed."""
        self._closing = True
        for waiter in self._waiting.all():
            if not waiter.granted.done():
                waiter.granted.set_result(None)

    def offer(self) -> None:
        """Hand out what there is to those who wait, first come, first served."""
        if self._closing or not len(self._waiting):
            return
        found, is_going_on = opportunities(self._committer.ahead), True
        while found and is_going_on:
            wanted, is_going_on = {each.ability for each in found}, False
            for waiter in self._candidates(found):
                if self._grant(waiter, found):
                    found, is_going_on = opportunities(self._committer.ahead), True
                    if {each.ability for each in found} != wanted:
                        break
                elif not may_be_given_more(
                    self._committer.ahead, waiter.request.author, self._clock_ms()
                ):
                    self._waiting.set_aside(waiter)

    def offer_again(self) -> None:
        """Time has passed: `offer`, then late leases a second time, to idle nodes that should be done first."""
        state, now_ms = self._committer.ahead, self._clock_ms()
        live = [state.runs[name] for name in state.live]
        if any(is_late(run, now_ms) or is_starved(run, now_ms) for run in live):
            self._waiting.take_back_all()
        self._takes_newcomers = False  # some of those that came back may be gone
        self._let_newcomers_in()
        self.offer()
        if self._closing or not len(self._waiting):
            return
        now_ms = self._clock_ms()
        late = late_leases(self._committer.ahead, now_ms)
        if late:  # whoever is on standby may do a copy
            self._waiting.take_back_all()
        idle = self._idle({lease.spec.kind for lease in late}) if late else []
        for lease in late:
            for waiter in idle:
                granted = second_copy(self._committer.ahead, waiter.request, lease, now_ms)
                if granted is not None:
                    self._hand_out(waiter, granted)
                    idle.remove(waiter)
                    break

    def _idle(self, kinds: set[str]) -> list[Waiter]:
        return [
            waiter
            for waiter in self._waiting.able(kinds)
            if not waiter.granted.done() and is_idle(self._committer.ahead, waiter.request.author)
        ]

    def _candidates(self, found: Sequence[Opportunity]) -> Iterator[Waiter]:
        """Who may take any of it: for trusted work a run names few keys, and a thousand strangers who say
        that they do it are not looked at.
        """
        named = map(self._waiting.of, trusted_for(found))
        yield from (waiter for waiter in named if waiter is not None)
        now_ms = self._clock_ms()
        called = None
        if len(self._waiting) > MANY:
            called = called_to(found, self._company(now_ms), now_ms)
        if called is None:
            yield from self._waiting.able({each.ability for each in strangers(found)})
        else:
            yield from self._waiting.standing(called)

    def _grant(self, waiter: Waiter, found: Sequence[Opportunity]) -> bool:
        """Whether there was a lease for this node; then it waits no more."""
        if waiter.granted.done():
            return False
        now_ms = self._clock_ms()
        granted = grant(self._committer.ahead, waiter.request, now_ms, found, self._company(now_ms))
        return granted is not None and self._hand_out(waiter, granted)

    def _hand_out(self, waiter: Waiter, granted: LeaseGranted) -> bool:
        """Record it; the node waits no more, whether there is room for the record or not."""
        entry, ended = self._signed(granted), ended_leases(self._committer.ahead, granted)
        if self._remnants is not None and ended:
            self._remnants.expect(granted, ended)
        try:
            recording = self._committer.record([entry])
        except refusals.Refused as error:
            waiter.granted.set_exception(error)
            return True
        finally:
            self._waiting.leave(waiter)
        if granted.work in self._committer.ahead.leases:  # else the disk has refused it already
            self._deadlines.add(granted.deadline_ms, granted.work)
        self._takes_newcomers &= takes_newcomers(self._committer.ahead, self._clock_ms())
        if ended:
            self._ended_with(granted, ended)
        told_when_durable(recording, waiter.granted, entry)
        return True

    def _ended_with(self, granted: LeaseGranted, ended: Sequence[Lease]) -> None:
        """A lease left others no time, and their nodes may get other work."""
        if self._remnants is not None:
            self._remnants.let_go(ended)
        self.follow(granted, ended)

    def _company(self, now_ms: int) -> Crowds:
        """How the nodes are together, not older than their number allows."""
        made_ms, known = self._crowds
        lasts_ms = max(self._company_ms, len(self._committer.ahead.nodes) // NODES_PER_MS)
        if not 0 <= now_ms - made_ms < lasts_ms:
            known = crowds(self._committer.ahead, now_ms)
            self._crowds = (now_ms, known)
        return known

    async def _answered_in(self, waiter: Waiter, timeout_s: float) -> Entry | None:
        if self._closing:
            return None
        await asyncio.wait({waiter.granted}, timeout=timeout_s)
        if not waiter.granted.done() and not self._is_granted(waiter):
            return None
        return await waiter.granted

    def _is_granted(self, waiter: Waiter) -> bool:
        """Granted already, and only on its way to the disk."""
        return self._waiting.of(waiter.request.author) is not waiter
