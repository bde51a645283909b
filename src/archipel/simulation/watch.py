"""What is seen of a simulated world while it runs: tokens, versions on their way, forged answers and when they are found."""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field

from archipel.lab.programmes import rl
from archipel.lab.providers import seen
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.rounds import MarketCleared
from archipel.records.statements import LeaseGranted
from archipel.simulation.stage import Machine, Stage

SERIES_EVERY_MS = 300_000


@dataclass(frozen=True, slots=True)
class Moment:
    """How it stood at a time."""

    at_ms: int
    version: int
    active: int
    here: int
    price_micro: int
    busy_ms: int
    paid_micro: int


@dataclass
class Found:
    """A cheat's career."""

    began_ms: int
    forged: int = 0
    found_ms: int | None = None
    forged_before: int = 0


@dataclass
class Watch:
    """Of one world."""

    world: Stage
    tokens: dict[str, int] = field(default_factory=dict)
    """Work in hand -> tokens that it brings."""
    groups: dict[str, int] = field(default_factory=dict)
    forged: set[str] = field(default_factory=set)
    published: list[int] = field(default_factory=list)
    """When each version was."""
    reached: dict[int, list[float]] = field(default_factory=dict)
    """Version -> milliseconds from its publication until each node had it."""
    egress_gb: float = 0.0
    """Out of the lab."""
    sent_gb: float = 0.0
    """To nodes, from wherever."""
    ingress_gb: float = 0.0
    verified_tokens: int = 0
    by_version: Counter[int] = field(default_factory=Counter)
    """Version -> nodes that fetched it."""
    cheats: dict[str, Found] = field(default_factory=dict)
    earned: Counter[str] = field(default_factory=Counter)
    """Node -> micro-credits that its answers were paid; what a verdict took back included."""
    refusals: Counter[str] = field(default_factory=Counter)
    clearings: list[MarketCleared] = field(default_factory=list)
    series: list[Moment] = field(default_factory=list)

    def sampled(self, grant: LeaseGranted, chance: random.Random) -> int:
        """Draw how many tokens a lease brings, and whether its node makes them up."""
        if not isinstance(grant.spec, RolloutSpec):
            raise TypeError(f"{grant.work} is {grant.spec.kind} work")
        learning, setting = self.world.scenario.learning, self.world.setting
        rollouts = len(grant.spec.groups) * learning.group_size
        spread = setting.length_spread * rollouts**0.5
        drawn = learning.tokens * (rollouts + spread * chance.gauss(0.0, 1.0))
        tokens: int = round(min(max(drawn, rollouts), rollouts * learning.most_tokens))
        self.tokens[grant.work] = tokens
        self.groups[grant.work] = len(grant.spec.groups)
        share = self.world.machines[grant.node].provider.forges
        if share > 0 and chance_of(grant.work) < share:
            self.forged.add(grant.work)
        return tokens

    def is_forged(self, work: str) -> bool:
        """Whether that answer was made up."""
        return work in self.forged

    def groups_of(self, work: str) -> int:
        """Of an answer that is audited."""
        return self.groups.get(work, 1)

    def answered(self, grant: LeaseGranted, paid_micro: int) -> None:
        """An answer was accepted, and paid."""
        self.earned[grant.node] += paid_micro
        tokens = self.tokens.pop(grant.work, None)
        if tokens is None:
            return
        self.verified_tokens += tokens
        self.ingress_gb += tokens * self.world.setting.rollout_bytes / 1e9
        if grant.work in self.forged:
            now_ms = self.world.events.now_ms
            self.cheats.setdefault(grant.node, Found(now_ms)).forged += 1

    def refused(self, why: str) -> None:
        """An answer came to nothing."""
        self.refusals[why] += 1

    def publishes(self, version: int) -> None:
        """The next version is there."""
        if len(self.published) == version:
            self.published.append(self.world.events.now_ms)

    def published_ms(self, version: int) -> int:
        """When a version was."""
        return self.published[version]

    def fetched(self, machine: Machine, version: int, gigabytes: float, took_ms: float) -> None:
        """A node fetches a version; how long after its publication it has it, where it waited for it."""
        self.sent_gb += gigabytes
        if self.by_version[version] < self.world.way.first_rank:
            self.egress_gb += gigabytes
        self.by_version[version] += 1
        age_ms = self.world.events.now_ms - self.published[version]
        if machine.version == version - 1:
            self.reached.setdefault(version, []).append(age_ms + took_ms)

    def cleared(self, clearing: MarketCleared) -> None:
        """A round is over."""
        self.clearings.append(clearing)

    def look(self) -> None:
        """Who was found out meanwhile; how it stands now and then."""
        state, now_ms = self.world.lab.ahead, self.world.events.now_ms
        for did, known in self.cheats.items():
            if known.found_ms is None:
                node = seen(state, did)
                if node is not None and node.standing.quarantine is not None:
                    known.found_ms, known.forged_before = now_ms, known.forged
        if not self.series or now_ms - self.series[-1].at_ms >= SERIES_EVERY_MS:
            self.series.append(self._moment(now_ms))

    def _moment(self, now_ms: int) -> Moment:
        world, run = self.world, self.world.run_state
        return Moment(
            at_ms=now_ms,
            version=run.version,
            active=len(world.active),
            here=sum(machine.is_on for machine in world.machines.values()),
            price_micro=self.clearings[-1].price_micro if self.clearings else 0,
            busy_ms=rl.course(run).busy_ms,
            paid_micro=run.paid_micro,
        )


def chance_of(work: str) -> float:
    """Whether a node that cheats does so here: by the work's name, so that a copy of it is no new draw."""
    return int.from_bytes(hashlib.sha256(f"forged {work}".encode()).digest()[:8], "big") / 2**64
