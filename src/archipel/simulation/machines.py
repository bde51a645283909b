"""How fast each kind of machine samples the policy, what it holds, what its hour costs: the planner's own formulas.

A machine of several accelerators cuts them into as many parts as hold the model, each with a copy, in the way that
brings most tokens. What cannot hold the model takes no part, and `why_not` says what is missing.
"""

import math
from dataclasses import dataclass

from archipel.planning.questions.serve import sheet_of
from archipel.planning.questions.sheet import Sheet
from archipel.planning.requests import REQUESTS
from archipel.simulation.inputs import Inputs
from archipel.simulation.scenario import CannotSimulate, Learning, Policy, Scenario

HOME = ("consumer", "apple")
"""Classes of machines that stand at home, with one household's line and electricity."""
UNPRICED = "1 USD/accelerator"
"""The planner's question wants a price to buy at; nothing here depends on it."""


@dataclass(frozen=True)
class Kind:
    """A kind of machine with the policy on it."""

    name: str
    title: str
    is_home: bool
    accelerators: int
    memory_gb: float
    """Of all of them that a model may take."""
    tokens_per_s: float
    """Sampled, by all of them; 0: it cannot hold the policy."""
    prefill_per_s: float
    """Tokens read, by which audits recompute."""
    hourly_usd: float
    """Median of what is asked for an hour of the whole machine."""
    watts: float
    why_not: str = ""

    @property
    def takes_part(self) -> bool:
        """Whether it holds the policy."""
        return self.tokens_per_s > 0


@dataclass(frozen=True)
class Weights:
    """The policy as it is stored and sent."""

    title: str
    params: float
    active: float
    gigabytes: float
    """As nodes hold it."""
    sent_gb: float
    """As an anchor travels: half precision."""
    delta_gb: float
    """As one update's difference travels."""


def weights_of(policy: Policy, inputs: Inputs) -> Weights:
    """Sizes of the policy, and of what travels."""
    of = _machine(policy, "h100", 1, 1, 1, inputs)
    params = inputs.centre(of["its.params"])
    sparse = inputs.value("rl.delta.pulse_sparse", "GB") / inputs.value("rl.delta.pulse_full", "GB")
    sent = params * 2 / 1e9
    return Weights(
        title=of.fill("{model_title}"),
        params=params,
        active=inputs.centre(of["its.active"]),
        gigabytes=inputs.centre(of["memory.weights"]),
        sent_gb=sent,
        delta_gb=sent * sparse,
    )


def kind_of(name: str, scenario: Scenario, inputs: Inputs) -> Kind:
    """One kind of machine of the tables."""
    shelf, group = inputs.shelf, f"accelerator.{name}"
    is_home = shelf.fact(f"{group}.class") in HOME
    asked = 0 if is_home else scenario.crowd.site
    count = asked or round(inputs.value(f"simulate.site.{'home' if is_home else 'datacentre'}"))
    policy, learning = scenario.policy, scenario.learning
    rate, prefill, held, needed = _best(name, count, policy, learning, inputs)
    watts = inputs.value(f"{group}.server_power") * count
    draw = inputs.value("power.draw_share.gpu")
    missing = f"{needed:,.0f} GB needed, {held:,.0f} GB usable" if not rate else ""
    hourly = _hourly(name, count, watts, inputs)
    title = shelf.fact(f"{group}.title", name)
    return Kind(
        name, title, is_home, count, held, rate, prefill, hourly, watts * draw, missing
    )  # fmt: skip


def _hourly(name: str, count: int, watts: float, inputs: Inputs) -> float:
    """The posted price; of a machine that nobody rents out, its wear and electricity."""
    if f"rental.{name}" in inputs:
        return inputs.value(f"rental.{name}") * count
    if f"purchase.{name}" not in inputs:
        raise CannotSimulate(
            f"{name}: neither a rental nor a purchase price is in the tables; expected one of them"
        )
    hours = inputs.value("lab.server_life") * inputs.value("lab.year")
    wear = inputs.value(f"purchase.{name}") * count / hours
    return wear + watts / 1000 * inputs.value("energy.price.world", "USD/kWh")


def _best(
    name: str, count: int, policy: Policy, learning: Learning, inputs: Inputs
) -> tuple[float, float, float, float]:
    """(tokens a second, tokens read a second, GB usable, GB needed) of the best way to cut it into copies."""
    best = (0.0, 0.0, 0.0, 0.0)
    for part in (size for size in (1, 2, 4, 8, 16, 32) if size <= count and count % size == 0):
        streams = _streams(name, part, policy, learning, inputs)
        of = _machine(policy, name, part, max(streams, 1), learning.tokens, inputs)
        usable, needed = (inputs.centre(of[f"memory.{each}"]) for each in ("usable", "needed"))
        if streams < 1:
            best = best if best[0] else (0.0, 0.0, usable, needed)
            continue
        prompt = inputs.value("simulate.prompt")
        answers = (
            inputs.centre(of["speed.throughput"]) * learning.tokens / (learning.tokens + prompt)
        )
        copies = count // part
        if answers * copies > best[0]:
            prefill = inputs.centre(of["speed.prompt"]) * copies
            best = (answers * copies, prefill, usable * copies, needed * copies)
    return best


def _streams(name: str, part: int, policy: Policy, learning: Learning, inputs: Inputs) -> int:
    """Rollouts side by side on one copy."""
    of = _machine(policy, name, part, 1, learning.tokens, inputs)
    held = inputs.centre(of["memory.streams"])
    most = inputs.value("simulate.streams") * part
    return int(min(held, most)) if math.isfinite(held) else 0


def _machine(
    policy: Policy, name: str, part: int, streams: int, tokens: int, inputs: Inputs
) -> Sheet:
    """The planner's sheet of `part` accelerators with the policy."""
    prompt = round(inputs.value("simulate.prompt"))
    size = (
        {"model": policy.model}
        if policy.model
        else {
            "params": f"{policy.params:g}",
            "active_params": f"{policy.active or policy.params:g}",
        }
    )
    request = REQUESTS["serve"](
        **size, quant=policy.quant, hardware=name, accelerators=str(part), price=UNPRICED,
        batch=str(streams), context=str(prompt + tokens), prompt=str(prompt), answer=str(tokens),
    )  # fmt: skip
    return sheet_of(request, inputs.shelf)
