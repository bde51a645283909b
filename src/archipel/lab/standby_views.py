"""Who works for a run, who waits, and why, as people see it. Pure."""

from itertools import islice

from archipel.lab.markets import RunMarket, price_of
from archipel.lab.standby import demand_of, pace_of, why_held_back, why_not
from archipel.lab.state import LabState, Node, Run
from archipel.market.provisioning import Why
from archipel.records.capacity import CapacityView, PlaceView

AT_WORK = (Why.CHEAPEST, Why.KEPT, Why.SLACK)
MAX_PLACES = 16
"""Runs of which a node's view says what the node is to them."""


def capacity_view(run: Run) -> CapacityView | None:
    """None before the learner was measured, and where it waits for every batch anyway."""
    known, pace = run.working, pace_of(run)
    if not known.period_ms or pace is None:
        return None
    counts = {Why[name]: number for name, number in known.counts.items()}
    return CapacityView(
        wanted_per_s=known.wanted_micro / known.period_ms / 1000,
        brought_per_s=known.brought_micro / known.period_ms / 1000,
        target=pace.utilisation_permille / 1000,
        binds=run.opened.pace.market is not None,
        active=len(known.members),
        standby=sum(number for why, number in counts.items() if why not in AT_WORK),
        reasons=dict(sorted((why.value, number) for why, number in counts.items())),
    )


def places(state: LabState, node: Node, now_ms: int) -> tuple[PlaceView, ...]:
    """What a node that is here is to the runs that decide by what was measured."""
    runs = (state.runs[name] for name in state.live if node.present)
    decided = (run for run in runs if run.working.period_ms and _is_able(run, node))
    return tuple(_place(state, run, node.did, now_ms) for run in islice(decided, MAX_PLACES))


def _is_able(run: Run, node: Node) -> bool:
    demand = demand_of(run)
    if demand is None or demand.kind not in node.capabilities.kinds:
        return False
    need = run.opened.pace.needs
    return need is None or need in node.meets


def _place(state: LabState, run: Run, did: str, now_ms: int) -> PlaceView:
    held_back = why_held_back(run, did, now_ms)
    is_outbid = run.opened.pace.market is not None and why_not(run, did) is Why.OUTBID
    market: RunMarket = state.markets.get(run.name, RunMarket())
    bid = None if market.last is None else market.last.book.get(did)
    award = None if market.last is None else market.last.awards.get(did)
    return PlaceView(
        run=run.name,
        is_active=did in run.working.members,
        waits=held_back is not None or is_outbid,
        why=why_not(run, did).value,
        ask_micro=None if bid is None else bid.price_micro,
        award_micro=None if award is None else price_of(award),
    )
