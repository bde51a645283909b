"""The market of a simulated run: rounds cleared by `market.clearing`, nodes provided for by `market.provisioning`.

Law: who is bought, at what price, and who works are decided by the market's own code; here its inputs are put
together from the lab's state: rates and reliability as the ledger shows them, asks as the providers hold them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from archipel.lab.programmes import rl
from archipel.lab.providers import seen
from archipel.lab.state import LabState, Node
from archipel.market.clearing import Ask, Clearing, Terms, clear
from archipel.market.health import Measured, quality
from archipel.market.provisioning import (
    CannotProvide,
    Hysteresis,
    Pace,
    Provision,
    Supply,
    provision,
)
from archipel.records.bids import MAX_BID_LOTS
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.statements import LeaseGranted
from archipel.simulation.providers import Provider
from archipel.simulation.scenario import Scenario

KIND = "rollout"
MILLION = 1_000_000


@dataclass
class Trade:
    """One run's market: what was cleared last, and who works."""

    scenario: Scenario
    providers: Mapping[str, Provider]
    reserve_micro: int
    lot_tokens_per_s: float
    seed: int
    rounds: int = 0
    last: Clearing | None = None
    prices: dict[str, int] = field(default_factory=dict)
    """Node -> micro-credits per million tokens, by its award: the mean of its lots, rounded down."""
    explored: frozenset[str] = frozenset()
    provided: Provision | None = None
    dumping: int = 0
    """Asks of the last round below their electricity."""

    def is_active(self, did: str) -> bool:
        """Whether a node is given work: everybody before the first clearing, then whoever was bought and is needed."""
        if self.last is None:
            return True
        return did in self.explored or did in self._active

    _active: frozenset[str] = frozenset()

    @property
    def active(self) -> frozenset[str]:
        """Who works: provided for, or explored."""
        return self._active | self.explored

    def held(self, state: LabState, here: Iterable[str], train_ms: int) -> Clearing:
        """A round: everybody who is here asks what its hour is worth to it.

        Raises:
            CannotClear: terms that no clearing exists for; a defect.
        """
        asks, known = list[Ask](), dict[str, list[Measured]]()
        for did in here:
            provider, node = self.providers[did], seen(state, did)
            if node is None or node.standing.quarantine is not None:
                continue
            known.setdefault(provider.operator, []).append(measured_of(node))
            asks.append(Ask(did, provider.operator, provider.ask_micro, self._lots(provider)))
        found = {operator: quality(together(each)) for operator, each in known.items()}
        qualities = {operator: each for operator, each in found.items() if each is not None}
        self.rounds += 1
        terms = self._terms(train_ms)
        seed = hashlib.sha256(f"round {self.seed} {self.rounds}".encode()).digest()
        self.last = clear(terms, asks, qualities, seed)
        self.prices = {each.seller: sum(each.prices) // len(each.prices) for each in self.last.awards}
        self.explored = frozenset(did for did in self.prices if not is_measured(state.nodes[did]))
        self.dumping = sum(self.providers[each.seller].floor_micro > each.micro for each in asks)
        return self.last

    def provide(self, state: LabState, here: Iterable[str], pace: Pace, fetch_ms: Mapping[str, int]) -> frozenset[str]:
        """Decide who works; returns who is active now and was not before."""
        run = state.runs[self.scenario.name]
        supplies = list[Supply]()
        for did in here:
            node = seen(state, did)
            if node is None or did not in self.prices:
                continue
            rate = node.speed(KIND, run.name).rate_micro * rl.pace(run).group_size
            supplies.append(
                Supply(did, rate, self.prices[did], fetch_ms[did], node.standing.quarantine is not None)
            )
        before = self.active
        try:
            self.provided = provision(pace, supplies, self._active, Hysteresis())
        except CannotProvide:
            return frozenset()
        self._active = frozenset(self.provided.active)
        return self.active - before

    def priced(self, grant: LeaseGranted) -> LeaseGranted:
        """The lease at its node's award: price x the tokens that its rollouts bring in the mean."""
        price = self.prices.get(grant.node)
        if price is None or not isinstance(grant.spec, RolloutSpec):
            return grant
        learning = self.scenario.learning
        tokens = len(grant.spec.groups) * learning.group_size * learning.tokens
        return grant.model_copy(update={"price_micro": price * tokens // MILLION})

    def _lots(self, provider: Provider) -> int:
        return min(max(int(provider.tokens_per_s / self.lot_tokens_per_s), 1), MAX_BID_LOTS)

    def _terms(self, train_ms: int) -> Terms:
        learning, market = self.scenario.learning, self.scenario.market
        step_s = train_ms / learning.utilisation_permille
        needed = learning.groups * learning.group_size * learning.tokens / step_s
        wanted = max(round(needed * (1 + market.headroom) / self.lot_tokens_per_s), 1)
        return Terms(
            wanted=wanted,
            reserve_micro=self.reserve_micro,
            operator_cap=max(round(wanted * market.operator_cap), 1),
            explore_permille=market.explore_permille,
        )


def measured_of(node: Node) -> Measured:
    """What the ledger says of a node's rollouts; `fresh` and `link` are left to provisioning."""
    tally = node.tallies.get(KIND)
    works = 0 if tally is None else tally.works
    ended = works + node.expired + node.returned
    wrong = node.standing.soft + node.standing.hard
    return Measured(
        answered=works,
        verified=max(works - wrong, 0),
        leased=ended,
        in_time=works,
    )


def together(of: Sequence[Measured]) -> Measured:
    """An operator's nodes, as one."""
    return Measured(
        answered=sum(each.answered for each in of),
        verified=sum(each.verified for each in of),
        leased=sum(each.leased for each in of),
        in_time=sum(each.in_time for each in of),
    )


def is_measured(node: Node) -> bool:
    """Whether any of its rollouts was accepted: before that nobody knows how fast it is."""
    return KIND in node.tallies
