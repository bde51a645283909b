"""What a run can buy of whom, as measured and at the price that its last round found. Pure."""

from collections.abc import Iterator, Mapping

from archipel.lab.awards import in_force
from archipel.lab.markets import price_of
from archipel.lab.node_pauses import may_work
from archipel.lab.providers import standing_of
from archipel.lab.standby import is_late
from archipel.lab.state import LabState, Node, Run
from archipel.lab.working_set import WorkingSet
from archipel.market.clearing import Award
from archipel.market.provisioning import Supply
from archipel.records.changed import changed

POSTED = 1
"""The price of everybody where all are paid alike."""
SILENT_VERSIONS = 4
SILENT_MS = 60_000
"""A member that took no work for so long is not there, whatever it said: where there was some for so many versions, or
the learner waits for it."""


def heard_of(state: LabState, run: Run, period_ms: int, at_ms: int) -> WorkingSet:
    """Members that take no work for long are silent."""
    known, is_waited_for = run.working, is_late(run, at_ms)
    for did, member in run.working.members.items():
        node: Node | None = state.nodes.get(did)
        is_told = is_waited_for or run.version - member.since_version >= SILENT_VERSIONS
        if node is None or not is_told or node.leases:
            continue
        idle_ms = at_ms - max(node.last_seen_ms, member.since_ms)
        if idle_ms > max(SILENT_MS, SILENT_VERSIONS * period_ms):
            silent = changed(known.figures[did], is_silent=True)
            known = changed(known, figures=known.figures.put(did, silent))
    return known


def supplies(state: LabState, run: Run, parts: int) -> Iterator[Supply]:
    """Every node here that this run measured, and bought where there is a market."""
    awards = awards_of(state, run)
    for did, figures in run.working.figures.items():
        node: Node | None = state.nodes.get(did)
        award = None if awards is None else awards.get(did)
        if node is None or not may_work(state, did) or (awards is not None and award is None):
            continue
        rate_micro, fetch_ms = figures.supply
        yield Supply(
            did,
            rate_micro * parts,
            POSTED if award is None else price_of(award),
            fetch_ms,
            standing_of(state, did).quarantine is not None,
            figures.is_silent,
        )


def outbid(state: LabState, run: Run) -> Iterator[str]:
    """Nodes here that this run measured, and that the last round did not buy."""
    awards = awards_of(state, run)
    if awards is None:
        return
    for did in run.working.figures:
        if may_work(state, did) and did not in awards:
            yield did


def awards_of(state: LabState, run: Run) -> Mapping[str, Award] | None:
    """What the last round of the run's market bought; None: leases are paid the posted price."""
    last = in_force(state, run)
    return None if last is None else last.awards
