"""A run in a simulated world: who comes and goes, what each lease takes, when versions are there. Driven by events.

Parts: `World`. Everything that is decided is decided by `SimulatedLab`; here is only what the world
does to them: time, presence, chance. Law: the same scenario and seed give the same world, event by event.
"""

import random
from collections.abc import Callable, Mapping

from archipel.lab import refusals
from archipel.lab.state import Run
from archipel.records.kinds.audit import AuditSpec
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.kinds.update import UpdateSpec
from archipel.records.rounds import MarketCleared, MarketOpened
from archipel.records.statements import LeaseGranted, NodeLeft, Recorded, WorkAnswered
from archipel.simulation import words
from archipel.simulation.events import Events
from archipel.simulation.lab import SimulatedLab
from archipel.simulation.machines import Kind
from archipel.simulation.providers import Provider, did_of
from archipel.simulation.scenario import Scenario
from archipel.simulation.setting import Setting
from archipel.simulation.spreading import fetch_s, way_of
from archipel.simulation.stage import Machine
from archipel.simulation.trade import Bidders, last_round, market_terms
from archipel.simulation.watch import Watch

START_MS = 1_800_000_000_000
LAB, OPERATOR, LEARNER, JUDGE = (did_of(name, 0) for name in ("lab", "sponsor", "learner", "judge"))
KINDS = ("rollout", "audit")
FEW = 64
COMPANY_MS = 300_000
"""Among more than few, how the nodes are together is computed so seldom: it looks at all of them."""
Tell = Callable[[str], None]


class World:
    """One run, from its opening to the end of the time."""

    def __init__(
        self,
        scenario: Scenario,
        setting: Setting,
        kinds: Mapping[str, Kind],
        providers: list[Provider],
        seed: int,
    ) -> None:
        """`kinds` of machines: of whoever could take part, and of whoever cannot."""
        self.kinds = kinds
        self.is_begun = False
        self.scenario = scenario
        self.setting = setting
        self.events = Events(START_MS)
        self.chance = random.Random(f"world {seed}")  # noqa: S311  a simulation
        company_ms = COMPANY_MS if len(providers) > FEW else 0
        self.lab = SimulatedLab(
            LAB, OPERATOR, lambda: self.events.now_ms, seed, self._on_recorded, company_ms
        )
        self.machines: Mapping[str, Machine] = {
            each.did: Machine(each) for each in providers if each.kind.takes_part
        }
        self.idle = [each for each in providers if not each.kind.takes_part]
        self.way = way_of(scenario.spreading, setting.weights.delta_gb, setting.uplinks, 1)
        """How the newest version travels."""
        self.watch = Watch(self)
        self.bidders = Bidders(self, self.watch.refused)
        self.until_ms = START_MS + round(scenario.hours * 3_600_000)

    def run(self, tell: Tell, every: int = 250) -> None:
        """Until the time is over; `tell` hears how far it is. Ctrl-C leaves the world as it is."""
        if not self.is_begun:
            self.begin()
        while self.events.step(self.until_ms):
            if self.events.happened % every == 0:
                done = (self.events.now_ms - START_MS) / (self.until_ms - START_MS)
                tell(f"{self.scenario.name}: {done:4.0%}, {self.lab.ahead.size:,} records")

    def begin(self) -> None:
        """The run opens, the trusted roles come, and everybody else at some time."""
        self.is_begun, lab, trusted = True, self.lab, (LEARNER, JUDGE)
        terms = market_terms(self.scenario, self.setting)
        lab.submit(words.settled(lab, OPERATOR))
        lab.submit(words.opened(self.scenario, self.setting, terms, lab, OPERATOR, trusted))
        lab.submit(words.funded(lab, OPERATOR, self.scenario.name))
        for did, kinds in ((LEARNER, ("update",)), (JUDGE, ("audit",))):
            lab.submit(words.joined(lab, did, kinds, 0, self.scenario.audited))
            lab.ask(did, kinds, ())
        for did, machine in self.machines.items():
            here = machine.provider.on_s / (machine.provider.on_s + machine.provider.off_s)
            if self.chance.random() < here:
                self.events.after(self.chance.random() * 60_000, self._arrives, did)
            else:
                self.events.after(self._time(machine.provider.off_s), self._arrives, did)
        market = self.scenario.market
        self.events.after(market.look_s * 1000, self._look)

    def _time(self, mean_s: float) -> float:
        """Milliseconds, exponentially distributed."""
        return self.chance.expovariate(1.0) * mean_s * 1000 if mean_s > 0 else 0.0

    def _arrives(self, did: str) -> None:
        machine = self.machines[did]
        provider, lab = machine.provider, self.lab
        rate = round(provider.tokens_per_s * 1000)
        operator = provider.operator
        try:
            lab.submit(words.joined(lab, did, KINDS, rate, self.scenario.audited, operator))
        except refusals.Refused as error:  # its operator is in quarantine: it comes no more
            self.watch.refused(type(error).__name__)
            return
        machine.is_on, machine.session, machine.works = True, machine.session + 1, ()
        self._asks(did)
        self.events.after(self._time(provider.on_s), self._goes, did, machine.session)

    def _goes(self, did: str, session: int) -> None:
        machine = self.machines[did]
        if machine.session != session:
            return
        machine.is_on, machine.session = False, session + 1
        self.lab.gone(did)
        machine.is_waiting = False
        if self.chance.random() >= self.setting.goes_silently:
            self.lab.submit(NodeLeft(lab=self.lab.did, author=did, seq=self.lab.next_seq()))
        self.events.after(self._time(machine.provider.off_s), self._arrives, did)

    def _asks(self, did: str) -> None:
        """A node asks, and waits: whether anything is bought of it, and when, is the lab's to say."""
        machine = self.machines[did]
        if not machine.is_on or machine.is_waiting or machine.works:
            return
        machine.is_waiting = True
        try:
            self.lab.ask(did, KINDS, machine.works)
        except refusals.Refused as error:  # in quarantine
            machine.is_waiting = False
            self.watch.refused(type(error).__name__)

    def _on_recorded(self, statement: Recorded) -> None:
        """Called when a statement is in the state; what follows of it in the world begins now."""
        match statement:
            case LeaseGranted():
                self._granted(statement)
            case MarketOpened():
                self.bidders.hear(statement)
            case MarketCleared():
                self.watch.cleared(statement)

    def _granted(self, grant: LeaseGranted) -> None:
        if grant.node == LEARNER:
            self.events.after(self.setting.step_ms, self._learned, grant)
            return
        if grant.node == JUDGE:
            self.events.after(self.setting.judge_ms, self._judged, grant)
            return
        machine = self.machines[grant.node]
        machine.is_waiting = False
        machine.works = (*machine.works, grant.work)
        took = self._takes_ms(machine, grant)
        self.events.after(took, self._done, grant, machine.session)

    def _takes_ms(self, machine: Machine, grant: LeaseGranted) -> float:
        """Fetch, compute and send."""
        provider, setting, spec = machine.provider, self.setting, grant.spec
        if not isinstance(spec, AuditSpec | RolloutSpec):
            raise TypeError(f"{grant.work} is {spec.kind} work")
        fetch = self._fetch(machine, spec.version)
        if isinstance(spec, AuditSpec):
            read = setting.audited_tokens(self.watch.groups_of(spec.work))
            return fetch + read / provider.kind.prefill_per_s * 1000
        tokens = self.watch.sampled(grant, self.chance)
        slow = setting.straggling_factor if self.chance.random() < setting.straggling else 1.0
        send = tokens * setting.rollout_bytes * 8 / (provider.up_mbit_s * 1000)
        return fetch + tokens / provider.tokens_per_s * 1000 * slow + send

    def _spread_ms(self, provider: Provider) -> int:
        """From a version's publication until this node has it, if it had the one before."""
        gigabytes = self.setting.weights.delta_gb
        seconds = fetch_s(self.way, gigabytes, provider.down_mbit_s / 1000)
        return round(seconds * 1000)

    def _fetch(self, machine: Machine, version: int) -> float:
        """Milliseconds from now until the node has this version; what it fetches is counted."""
        if machine.version >= version:
            return 0.0
        weights, own = self.setting.weights, machine.provider.down_mbit_s / 1000
        steps = version - machine.version
        needs_anchor = machine.version < 0 or steps * weights.delta_gb > weights.sent_gb
        gigabytes = weights.sent_gb if needs_anchor else weights.delta_gb * steps
        published_ms = self.watch.published_ms(version)
        spread_ms = published_ms + self._spread_ms(machine.provider) - self.events.now_ms
        took = max(gigabytes * 8 / own * 1000, spread_ms, 0.0)
        self.watch.fetched(machine, version, gigabytes, took)
        machine.version = version
        return took

    def _done(self, grant: LeaseGranted, session: int) -> None:
        machine = self.machines[grant.node]
        if machine.session != session:
            return
        machine.works = tuple(work for work in machine.works if work != grant.work)
        try:
            if isinstance(grant.spec, AuditSpec):
                self._says(grant, machine)
            elif isinstance(grant.spec, RolloutSpec):
                answer = words.rolled(grant, self.watch.tokens[grant.work], self.scenario.audited)
                self._answer(grant, answer)
        except refusals.Refused as error:
            self.watch.refused(type(error).__name__)
        self._asks(grant.node)

    def _says(self, grant: LeaseGranted, machine: Machine) -> None:
        """An auditor tells the truth, but for cheats that agreed to find everything right."""
        lies = self.scenario.crowd.colluding and machine.provider.forges > 0
        found = self._is_forged(grant) and not lies
        self._answer(grant, words.audited(grant, found, self.setting))

    def _is_forged(self, grant: LeaseGranted) -> bool:
        return isinstance(grant.spec, AuditSpec) and self.watch.is_forged(grant.spec.work)

    def _answer(self, grant: LeaseGranted, answer: words.Said) -> None:
        lab, before = self.lab, self.run_state.paid_micro
        lab.submit(
            WorkAnswered(
                lab=lab.did, author=grant.node, seq=lab.next_seq(), work=grant.work, answer=answer
            )
        )
        self.watch.answered(grant, self.run_state.paid_micro - before)

    def _learned(self, grant: LeaseGranted) -> None:
        if isinstance(grant.spec, UpdateSpec) and grant.work in self.lab.ahead.leases:
            answer = words.updated(grant.spec, self.scenario, self.setting)
            nodes, weights = len(self.active) or len(self.machines), self.setting.weights
            self.way = way_of(
                self.scenario.spreading, weights.delta_gb, self.setting.uplinks, nodes
            )
            self.watch.publishes(grant.spec.version)
            self._answer(grant, answer)
        self.lab.ask(LEARNER, ("update",), ())

    def _judged(self, grant: LeaseGranted) -> None:
        if grant.work in self.lab.ahead.leases:
            found = self._is_forged(grant)
            self._answer(grant, words.audited(grant, found, self.setting))
        self.lab.ask(JUDGE, ("audit",), ())

    def _look(self) -> None:
        self.lab.look()
        self.watch.look()
        self.events.after(self.scenario.market.look_s * 1000, self._look)

    @property
    def active(self) -> frozenset[str]:
        """Nodes that are provided for; before that is decided, all with an award."""
        members = self.run_state.working.members
        if len(members):
            return frozenset(members)
        last = last_round(self.lab.ahead, self.scenario.name)
        return frozenset() if last is None else frozenset(last.awards)

    @property
    def run_state(self) -> Run:
        """The run as the lab knows it."""
        return self.lab.ahead.runs[self.scenario.name]
