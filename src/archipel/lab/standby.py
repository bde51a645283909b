"""Who is held back in a run that has enough nodes at work, and why. Pure.

Law: nobody is held back while the set does not suffice, or seems to and the learner waits all the same; nor in a run
without a market.
"""

from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.programmes import rl
from archipel.lab.rules import Demand
from archipel.lab.state import Phase, Run
from archipel.market.provisioning import Pace, Why

LATE_PERIODS = 2
"""After so many periods without a version, the learner waiting, nobody is held back."""
RETRIED_VERSIONS = 16
"""After so many versions, a node whose link was too slow is measured again."""
PASSED = (Why.UNMEASURED, Why.SILENT, Why.OUTBID)
"""Who asks for work is not silent; the others are not this rule's to admit."""
UTILISATION_PERMILLE = 950
"""Of the trusted role, where a run states no target."""


def why_held_back(run: Run, did: str, now_ms: int) -> Why | None:
    """Why this node is given none of the work that the set is decided for; None: it may have some.

    A run without a market holds nobody back. Nobody is held back before version 1 and while the set does not suffice; nor
    who has to be measured, of whom `lab.awards` admits few; nor who has no award, of whom it admits none.
    """
    known = run.working
    if (
        run.opened.pace.market is None
        or not known.suffices
        or did in known.members
        or is_late(run, now_ms)
    ):
        return None
    why = why_not(run, did)
    if why is Why.LINK and run.version - known.figures[did].version >= RETRIED_VERSIONS:
        return None
    return None if why in PASSED else why


def is_late(run: Run, now_ms: int) -> bool:
    """Whether the learner waits so long for work that the set cannot be what it seems."""
    known, demand = run.working, demand_of(run)
    if demand is None or not demand.is_awaited or not known.period_ms:
        return False
    return now_ms - run.chain[-1].at_ms > LATE_PERIODS * known.period_ms


def is_starved(run: Run, now_ms: int, cleared_ms: int = 0) -> bool:
    """The same, whatever is known of the pace: before that is measured, and at S = 0, a period of its market counts,
    and half of one for those whom the last round has bought; it was cleared at `cleared_ms`.
    """
    market, known = run.opened.pace.market, run.working
    if market is None or run.phase is not Phase.RUNNING:
        return False
    if known.period_ms and demand_of(run) is not None:
        return is_late(run, now_ms)
    is_awaited = rl.course(run).owed > 0 and rl.course(run).updating is None
    left_ms = (
        max(run.chain[-1].at_ms + market.period_ms, cleared_ms + market.period_ms // 2) - now_ms
    )
    return is_awaited and left_ms < 0


def is_held_back(run: Run, kind: str, did: str, now_ms: int) -> bool:
    """Whether this node is given no new work of this kind; a copy of late work goes to whoever is idle."""
    if run.opened.pace.market is None:
        return False
    demand = demand_of(run)
    return (
        demand is not None and demand.kind == kind and why_held_back(run, did, now_ms) is not None
    )


def why_not(run: Run, did: str) -> Why:
    """What was decided of a node, a member or none."""
    name = run.working.reasons.get(did)
    return Why.UNMEASURED if name is None else Why[name]


def demand_of(run: Run) -> Demand | None:
    """What its learner takes in with a version; None: it has none, or waits for every batch anyway."""
    return PROGRAMME_OF[run.opened.pace.programme].demand(run)


def pace_of(run: Run) -> Pace | None:
    """What the learner consumes, as measured; None before version 1, or where it waits for every batch anyway."""
    demand, market = demand_of(run), run.opened.pace.market
    if demand is None or not run.working.step_ms:
        return None
    target = UTILISATION_PERMILLE if market is None else market.utilisation_permille
    return Pace(run.working.step_ms, demand.units * demand.parts, 1, target)
