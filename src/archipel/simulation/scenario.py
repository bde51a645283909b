"""What is simulated: a run, its learner, who takes part, how the market is held. Frozen, total, closed; no chance here.

What a scenario leaves open (prices, speeds, lines) comes from the planner's tables (`inputs`), each with its source.
"""

from dataclasses import dataclass, field
from typing import Literal

Way = Literal["best", "star", "mirrors", "tree"]
"""How a version reaches the nodes: as `market.dissemination` chooses, all from the lab, over one rank of nodes that
serve the others, or from node to node."""


class CannotSimulate(ValueError):
    """A scenario that means nothing; the message says what was got and what was expected."""


@dataclass(frozen=True)
class Policy:
    """The model that is trained."""

    model: str = "llama-3-8b"
    """A model of the tables (`serve.model`), or empty: `params` and `active` say its size."""
    params: float = 0.0
    active: float = 0.0
    quant: str = "bf16"
    """Of the weights that nodes sample from."""


@dataclass(frozen=True)
class Learning:
    """One run of reinforcement learning."""

    accelerator: str = "h100"
    accelerators: int = 8
    """Of the learner."""
    colocated: bool = False
    """Whether the data centre it is compared with generates and trains in turns on the same accelerators, as published
    baselines do; otherwise it keeps accelerators for generation alone.
    """
    step_s: float = 0.0
    """Of one update with all its rollouts at hand; 0: by FLOP and utilisation."""
    groups: int = 64
    """Of one update."""
    group_size: int = 16
    lease: int = 1
    """Groups of one lease, at most: what a slow machine holds, the learner may wait for."""
    staleness: int = 4
    tokens: int = 4000
    """Mean length of a rollout."""
    most_tokens: int = 16_384
    utilisation_permille: int = 950
    """Of the learner, that nodes are provided for."""


@dataclass(frozen=True)
class Crowd:
    """Who could work."""

    providers: int = 200
    """Machines that join in the course of things."""
    kinds: tuple[str, ...] = ()
    """Of machines, of `simulate.share`; none: all."""
    site: int = 0
    """Accelerators of one machine with data-centre cards; 0: by the tables."""
    cheats: float = 0.0
    """Share of machines that forge answers."""
    forges: float = 0.3
    """Share of its answers that such a machine forges."""
    colluding: bool = False
    """Whether cheats, asked to audit, find everything right."""


@dataclass(frozen=True)
class Market:
    """How rounds are held, and nodes provided for."""

    period_s: float = 3600.0
    """Between two rounds."""
    reserve: float = 1.0
    """Highest price, over what the data centre's own generation costs."""
    operator_cap: float = 0.1
    """Share of the lots that one operator may sell."""
    explore_permille: int = 50
    """Of lots, and of groups in nodes' hands: kept for operators whom nobody measured. Where all are new, so much is
    all that a first round buys.
    """
    headroom: float = 0.25
    """Lots bought beyond what the learner needs, to stand by."""
    look_s: float = 5.0
    """How often the lab looks at deadlines, draws and stragglers; a real one looks five times a second."""
    deposit: float = 0.0
    """Credits that a bidder who was measured before sets aside with its bid. Pay is kept as stake first, so whoever is
    new has no balance to take one from."""


@dataclass(frozen=True)
class Spreading:
    """How versions travel."""

    way: Way = "best"
    lab_gbit_s: float = 1.0
    """Uplink of the lab."""
    chunk_mb: float = 16.0
    anchor_every: int = 20


@dataclass(frozen=True)
class Scenario:
    """Everything that is asked."""

    name: str = "small"
    title: str = "a small run"
    hours: float = 6.0
    audited: bool = True
    """Whether answers are recomputed to the bit by others, by the default terms of a recipe."""
    policy: Policy = field(default_factory=Policy)
    learning: Learning = field(default_factory=Learning)
    crowd: Crowd = field(default_factory=Crowd)
    market: Market = field(default_factory=Market)
    spreading: Spreading = field(default_factory=Spreading)

    def __post_init__(self) -> None:
        _within("hours", self.hours, 0.01, 24 * 366)
        _within("providers", self.crowd.providers, 1, 100_000)
        _within("accelerators of the learner", self.learning.accelerators, 1, 100_000)
        _within("groups of an update", self.learning.groups, 1, 65_536)
        _within("rollouts of a group", self.learning.group_size, 1, 1024)
        _within("staleness", self.learning.staleness, 0, 64)
        _within("tokens of a rollout", self.learning.tokens, 1, self.learning.most_tokens)
        _within("share of cheats", self.crowd.cheats, 0, 1)
        _within("share of answers that a cheat forges", self.crowd.forges, 0, 1)
        _within("seconds between rounds", self.market.period_s, 1, 86_400)
        _within("seconds between looks", self.market.look_s, 0.2, 3600)
        _within("headroom", self.market.headroom, 0, 100)
        _within("share of one operator", self.market.operator_cap, 0, 1)
        if self.spreading.way not in ("best", "star", "mirrors", "tree"):
            raise CannotSimulate(
                f"spreading.way: got {self.spreading.way!r:.40}, expected best, star, mirrors or tree"
            )
        _within("megabytes of a chunk", self.spreading.chunk_mb, 0.01, 4096)
        _within("versions from one anchor to the next", self.spreading.anchor_every, 1, 1000)
        _within("the lab's uplink in Gbit/s", self.spreading.lab_gbit_s, 1e-3, 1e5)


def _within(what: str, got: float, least: float, most: float) -> None:
    if not least <= got <= most:
        raise CannotSimulate(f"{what}: got {got:g}, expected {least:g} to {most:g}")
