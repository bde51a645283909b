"""Nodes that are believed no more: what they hold goes back, and what they say is refused, with the reason. Pure."""

from archipel.lab import refusals
from archipel.lab.audits import audits, closed_case, terms
from archipel.lab.cases import Outcome
from archipel.lab.providers import keys_of, standing_of
from archipel.lab.state import LabState, Lease


def leases(state: LabState) -> list[Lease]:
    """Everything in the hands of nodes in quarantine, as far as runs that are not at rest remember their verdicts."""
    runs = [run for name in state.live if terms(run := state.runs[name]) is not None]
    cases = [case for run in runs for case in audits(run).closed]
    hard = [c for c in cases if c.verdict is not None and c.verdict.outcome is Outcome.HARD]
    parties = [p for p in {case.answer.party for case in hard} if standing_of(state, p).quarantine]
    found = {did: state.nodes.get(did) for party in parties for did in keys_of(state, party)}
    nodes = [node for node in found.values() if node is not None]
    return [state.leases[work] for node in nodes for work in node.leases]


def refuse(state: LabState, author: str) -> None:
    """Refuse whom two independent parties found wrong."""
    known = standing_of(state, author).quarantine
    if known is None:
        return
    run = state.runs.get(known.run)
    case = None if run is None else closed_case(run, known.work)
    verdict = None if case is None else case.verdict
    why = "it was found wrong" if verdict is None else verdict.reason
    raise refusals.NotAllowed(
        f"this node is in quarantine for its answer to {known.work}: {why}; `archipel node disputes` shows it, and "
        "`archipel node contest` asks the trusted role"
    )
