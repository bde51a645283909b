"""Numbers that a scenario's world runs by, taken from the tables once: sizes, times, prices, and the data centre beside it.

The data centre is the comparison: the same learner, kept as busy, whose rollouts are sampled by accelerators of its
own kind at the price of one connected cluster. What neither side needs the other for (staff, storage) is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from archipel.simulation.inputs import Inputs
from archipel.simulation.machines import Kind, Weights, kind_of, weights_of
from archipel.simulation.providers import MICRO, Provider
from archipel.simulation.scenario import Scenario

UPLINKS = 64
LOT_OF = 32
"""Lots that a typical need is cut into at least: the finer, the closer the cheapest sufficient set."""


@dataclass(frozen=True)
class Central:
    """The same run in one data centre."""

    accelerator: str
    hourly_usd: float
    """Of one accelerator in a connected cluster."""
    tokens_per_s: float
    """That one samples."""
    needed_tokens_per_s: float
    """At the same learner utilisation."""
    learner_usd_per_h: float
    train_usd_per_million: float
    """What a token costs to learn from, a million of them."""
    generation_share: tuple[float, float, float] | None = None
    """Of its time, where it generates and trains in turns: as published, and that figure's interval."""

    @property
    def accelerators(self) -> float:
        """That sample."""
        return self.needed_tokens_per_s / self.tokens_per_s if self.tokens_per_s else float("inf")

    @property
    def usd_per_million(self) -> float:
        """What its own rollouts cost."""
        if self.generation_share is not None:
            share = self.generation_share[0]
            return self.train_usd_per_million * share / (1 - share)
        if not self.tokens_per_s:
            return float("inf")
        return self.hourly_usd / (self.tokens_per_s * 3600) * MICRO


@dataclass(frozen=True)
class Setting:
    """See the module's text."""

    weights: Weights
    step_ms: int
    """Of one update with all its rollouts at hand."""
    judge_ms: int
    central: Central
    reserve_micro: int
    posted_micro: int
    """Per group, before the first round is cleared."""
    least_deadline_ms: int
    """A slow machine's time for one group: who was never measured gets several times as long for its first."""
    lot_tokens_per_s: float
    uplinks: tuple[int, ...]
    """Bytes a second of the nodes that hand versions on, every so many of all that can."""
    goes_silently: float
    straggling: float
    straggling_factor: float
    length_spread: float
    rollout_bytes: float
    tokens_per_group: float
    audited_share: float
    """Of an answer's rollouts, that an audit recomputes."""
    egress_usd_per_gb: float

    def audited_tokens(self, groups: int) -> float:
        """Tokens that an audit of so many groups reads."""
        return groups * self.tokens_per_group * self.audited_share


def setting_of(
    scenario: Scenario,
    kinds: Mapping[str, Kind],
    providers: list[Provider],
    audited_share: float,
    inputs: Inputs,
) -> Setting:
    """Everything by the tables."""
    learning, weights = scenario.learning, weights_of(scenario.policy, inputs)
    step_s = learning.step_s or _step_s(scenario, weights, inputs)
    central = _central(scenario, kinds, step_s, inputs)
    reserve = max(round(central.usd_per_million * scenario.market.reserve * MICRO), 1)
    group = learning.group_size * learning.tokens
    able = [each for each in providers if each.kind.takes_part]
    rates = sorted(each.tokens_per_s for each in able)
    needed, slow = central.needed_tokens_per_s, rates[len(rates) // 10]
    return Setting(
        weights=weights,
        step_ms=max(round(step_s * 1000), 1),
        judge_ms=1000,
        central=central,
        reserve_micro=reserve,
        posted_micro=round(reserve * group / MICRO),
        least_deadline_ms=min(max(round(group / slow * 1000), 30_000), 3_600_000),
        lot_tokens_per_s=min(slow, needed / LOT_OF),
        uplinks=_sample([round(each.up_mbit_s * 125_000) for each in able]),
        goes_silently=inputs.value("simulate.goes_silently"),
        straggling=inputs.value("simulate.straggling"),
        straggling_factor=inputs.value("simulate.straggling_factor"),
        length_spread=inputs.value("simulate.length_spread"),
        rollout_bytes=inputs.value("simulate.rollout_bytes"),
        tokens_per_group=group,
        audited_share=audited_share,
        egress_usd_per_gb=inputs.value("simulate.egress_price", "USD/GB"),
    )


def _sample(uplinks: list[int]) -> tuple[int, ...]:
    """At most so many as a plan looks at, evenly over their order."""
    ordered = sorted(uplinks)
    return tuple(ordered[:: max(len(ordered) // UPLINKS, 1)])


def _step_s(scenario: Scenario, weights: Weights, inputs: Inputs) -> float:
    """6 x active parameters x tokens over what the learner computes."""
    learning = scenario.learning
    tokens = learning.groups * learning.group_size * learning.tokens
    peak = inputs.value(f"accelerator.{learning.accelerator}.bf16", "FLOP/(s*accelerator)")
    speed = peak * learning.accelerators * inputs.value("simulate.learner_mfu")
    return inputs.value("law.flop.training") * weights.active * tokens / speed


def _central(
    scenario: Scenario, kinds: Mapping[str, Kind], step_s: float, inputs: Inputs
) -> Central:
    learning, name = scenario.learning, scenario.learning.accelerator
    kind = kinds.get(name) or kind_of(name, scenario, inputs)
    hourly = inputs.value(f"rental.{name}") * inputs.value("decentralise.cluster_premium")
    tokens = learning.groups * learning.group_size * learning.tokens
    return Central(
        accelerator=kind.title,
        hourly_usd=hourly,
        tokens_per_s=kind.tokens_per_s / kind.accelerators,
        needed_tokens_per_s=tokens / step_s * learning.utilisation_permille / 1000,
        learner_usd_per_h=hourly * learning.accelerators,
        train_usd_per_million=hourly * learning.accelerators * step_s / 3600 / tokens * MICRO,
        generation_share=_generation(inputs) if learning.colocated else None,
    )


def _generation(inputs: Inputs) -> tuple[float, float, float]:
    share = inputs.value("rl.generation_share")
    figure = inputs.shelf.entry("rl.generation_share").figure
    return share, figure.low or share, figure.high or share
