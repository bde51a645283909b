"""Which nodes keep a learner busy at the least price: ECHO-2's rule (arXiv 2602.02192), node by node. Pure.

The learner publishes every `period` steps; in that time it consumes `period` x R rollouts. A node that must first
fetch the new version (f ms) generates for the rest of the period at its verified rate r. So the learner never waits
if, over the active nodes, sum r (T - f) >= period x R, where T = period x training time of a step.
With one f for all this is ECHO-2's sum r >= period R / (T - f). A target below full utilisation lengthens T.

A node is paid for its verified work, so the cheapest sufficient set is the cheapest nodes whose sum suffices.
Hysteresis has two sides: an active node counts as a little cheaper than it asks (no swap for a trifle), and is
released only when the cheaper ones suffice with some slack (no switching on and off around the need), unless a new
one takes its place. Law: asked again with its own answer and nothing else changed, the set never grows, so it settles.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

MAX_NODES = 65_536


class CannotProvide(ValueError):
    """Figures that no set of nodes can answer."""


class Why(Enum):
    """Why a node is active, or is not."""

    CHEAPEST = "of the cheapest set that suffices"
    KEPT = "active already, and no other is so much cheaper"
    SLACK = "kept though the cheaper ones suffice: without it there is little to spare"
    SPARE = "the cheaper ones suffice"
    UNMEASURED = "no rate was verified yet"
    LINK = "its link takes the whole period to fetch a version"
    SILENT = "it let its last lease run out, or takes no work"
    OUTBID = "the last round bought none of its lots"
    VERDICT = "audits found it wrong"


@dataclass(frozen=True, slots=True)
class Pace:
    """What a learner consumes, as measured."""

    train_ms: int
    """Of one step, with all the rollouts it needs at hand."""
    rollouts: int
    """Of one step."""
    period: int
    """Steps from one published version to the next; ECHO-2's is the staleness bound less one."""
    utilisation_permille: int = 950
    """Of the learner, at least."""

    def __post_init__(self) -> None:
        if min(self.train_ms, self.rollouts, self.period) < 1:
            raise CannotProvide(
                f"got {self}; expected a step of 1 ms, 1 rollout and a period of 1 or more"
            )
        if not 1 <= self.utilisation_permille <= 1000:
            raise CannotProvide(
                f"a utilisation of {self.utilisation_permille} per-mille; expected 1 to 1000"
            )

    @property
    def period_ms(self) -> int:
        """From one version to the next at the target utilisation."""
        return self.period * self.train_ms * 1000 // self.utilisation_permille

    @property
    def needed(self) -> int:
        """Rollouts in a period."""
        return self.period * self.rollouts


@dataclass(frozen=True, slots=True)
class Supply:
    """A node as measured, at its price."""

    node: str
    rate_micro: int
    """Verified rollouts per second, in millionths; 0: nobody measured it yet."""
    price_micro: int
    """Micro-credits per verified rollout or million tokens; one unit for all nodes."""
    fetch_ms: int
    """From a version's publication until the node samples from it."""
    is_barred: bool = False
    """After a verdict."""
    is_silent: bool = False
    """It did not do what it was given last, so nobody can count on it."""

    def brings_micro(self, pace: Pace) -> int:
        """Rollouts of one period, in millionths."""
        return max(self.rate_micro * (pace.period_ms - self.fetch_ms) // 1000, 0)


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """How much it takes to change the set."""

    price_permille: int = 100
    """An active node is replaced by one that is cheaper by more than this."""
    slack_permille: int = 150
    """An active node is released once the cheaper ones bring this much more than needed."""


@dataclass(frozen=True, slots=True)
class Provision:
    """Who works, and who waits."""

    active: tuple[str, ...]
    """Cheapest first."""
    reasons: Mapping[str, Why]
    """Of every node."""
    wanted: int
    """Rollouts needed in a period."""
    brought: int
    """Rollouts that the active nodes bring in a period."""
    spare: tuple[str, ...] = ()
    """Who could work and is not needed; first who is woken first."""

    @property
    def suffices(self) -> bool:
        """Whether the learner keeps its target utilisation."""
        return self.brought >= self.wanted


def required_rate_micro(pace: Pace, dissemination_ms: int) -> int:
    """Rollouts per second, in millionths and rounded up, that all nodes together must verify.

    Raises:
        CannotProvide: dissemination takes the whole period; publish less often or make versions smaller.
    """
    left_ms = pace.period_ms - dissemination_ms
    if left_ms <= 0:
        raise CannotProvide(
            f"{dissemination_ms} ms to disseminate a version; expected less than the {pace.period_ms} ms between"
            " versions: publish less often, or make versions smaller"
        )
    return -(-pace.needed * 1_000_000_000 // left_ms)


def provision(
    pace: Pace, supplies: Iterable[Supply], active: frozenset[str], hysteresis: Hysteresis
) -> Provision:
    """The set to be active from now on.

    Args:
        pace: of the learner.
        supplies: all nodes at hand, at most MAX_NODES; one that left is not among them.
        active: the nodes that work now.
        hysteresis: what it takes to change that.

    Raises:
        CannotProvide: a node named twice, or too many.
    """
    nodes = list(supplies)
    if len({each.node for each in nodes}) < len(nodes) or len(nodes) > MAX_NODES:
        raise CannotProvide(
            f"got {len(nodes)} nodes, some perhaps twice; expected {MAX_NODES} at most, each once"
        )
    reasons = {each.node: why for each in nodes if (why := _unfit(pace, each)) is not None}
    fit = [each for each in nodes if each.node not in reasons]
    fit.sort(key=lambda each: _counted_price(pace, each, active, hysteresis))
    target, released_at = (
        _millionths(pace.needed, 1000),
        _millionths(pace.needed, 1000 + hysteresis.slack_permille),
    )
    plain = _cheapest(pace, fit, target)
    chosen, brought = list[str](), 0
    for each in fit:
        if brought < target:
            reasons[each.node] = Why.CHEAPEST if each.node in plain else Why.KEPT
        elif active.issuperset((*chosen, each.node)) and brought < released_at:
            reasons[each.node] = Why.SLACK
        else:
            reasons[each.node] = Why.SPARE
            continue
        chosen.append(each.node)
        brought += _brings(pace, each)
    spare = tuple(each.node for each in fit if reasons[each.node] is Why.SPARE)
    return Provision(tuple(chosen), reasons, pace.needed, brought // 1_000_000_000, spare)


def _unfit(pace: Pace, supply: Supply) -> Why | None:
    if supply.is_barred:
        return Why.VERDICT
    if supply.is_silent:
        return Why.SILENT
    if supply.rate_micro <= 0:
        return Why.UNMEASURED
    return Why.LINK if supply.fetch_ms >= pace.period_ms else None


def _cheapest(pace: Pace, fit: Iterable[Supply], target: int) -> set[str]:
    """The set that would be active if none were."""
    chosen, brought = set[str](), 0
    for each in sorted(
        fit, key=lambda supply: (supply.price_micro, -_brings(pace, supply), supply.node)
    ):
        if brought < target:
            chosen.add(each.node)
            brought += _brings(pace, each)
    return chosen


def _counted_price(
    pace: Pace, supply: Supply, active: frozenset[str], hysteresis: Hysteresis
) -> tuple[int, bool, int, str]:
    """Price in thousandths, less the bonus of who works already; then who works already, then who brings most (of few
    nodes each version is fetched less often), then by name.
    """
    works = supply.node in active
    factor = 1000 - hysteresis.price_permille if works else 1000
    return supply.price_micro * factor, not works, -_brings(pace, supply), supply.node


def _brings(pace: Pace, supply: Supply) -> int:
    """Rollouts of one period, in millionths of a thousandth (rate in millionths x milliseconds)."""
    return supply.rate_micro * (pace.period_ms - supply.fetch_ms)


def _millionths(rollouts: int, permille: int) -> int:
    return rollouts * 1_000_000 * permille
