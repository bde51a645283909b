"""Why does nothing move? For each run: which wait is blocking, who owns it, until when. Pure."""

from dataclasses import dataclass

from archipel.lab import decide
from archipel.lab.state import LabState, Lease, Node, Phase, Run
from archipel.records.statements import RolloutSpec


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that a run waits for."""

    run: str
    waiting_for: str
    owner: str
    """Who can end the wait: a node, the operator, or nobody."""
    left_s: float | None
    """Until the lab itself ends the wait (the deadline); None when only the owner can."""
    advice: str


def waits(state: LabState, now_ms: int) -> list[Wait]:
    """The blocking wait of every run that is not finished, most upstream cause first."""
    return [
        wait
        for run in state.runs.values()
        if run.phase in (Phase.PREPARING, Phase.RUNNING)
        for wait in _run_waits(state, run, now_ms)
    ]


def _run_waits(state: LabState, run: Run, now_ms: int) -> list[Wait]:
    updating = _lease(state, run, "update")
    if updating is not None:
        return [_leased(run, updating, f"version {run.version + 1} is being made", now_ms)]
    if run.phase is Phase.PREPARING or not decide.missing_groups(run):
        what = f"nobody has taken the update to version {run.version + 1}"
        return [_absent_trainer(state, run, what, now_ms)]
    return _rollout_waits(state, run, now_ms)


def _rollout_waits(state: LabState, run: Run, now_ms: int) -> list[Wait]:
    missing = set(decide.missing_groups(run))
    found = []
    for lease in state.leases.values():
        spec = lease.spec
        if isinstance(spec, RolloutSpec) and spec.run == run.opened.run:
            owed = missing & set(spec.groups)
            missing -= owed
            if owed:
                what = f"{len(owed)} groups of the next batch are being sampled"
                found.append(_leased(run, lease, what, now_ms))
    if missing:
        what = f"{len(missing)} groups of the next batch are with nobody"
        samplers = decide.active_nodes(state, now_ms)
        advice = (
            f"{len(samplers)} nodes were heard of in the last minute; they are asked next"
            if samplers
            else "no node is at work: run `archipel node join LAB_URL` on any machine"
        )
        owner = "the lab" if samplers else "nobody"
        found.append(Wait(run.opened.run, what, owner, None, advice))
    return found


def _leased(run: Run, lease: Lease, what: str, now_ms: int) -> Wait:
    left_s = (lease.deadline_ms - now_ms) / 1000
    advice = "at the deadline the work goes to somebody else"
    return Wait(run.opened.run, f"{what} ({lease.work})", lease.node, left_s, advice)


def _absent_trainer(state: LabState, run: Run, what: str, now_ms: int) -> Wait:
    present: list[Node] = [
        node
        for did in run.opened.trusted
        if (node := state.nodes.get(did))
        and node.present
        and now_ms - node.last_seen_ms < decide.ACTIVE_MS
    ]
    owner = present[0].did if present else run.opened.trusted[0]
    advice = (
        "the update process is connected and should take it within seconds"
        if present
        else "start it with `archipel update join LAB_URL` on the machine that holds this key"
    )
    return Wait(run.opened.run, what, owner, None, advice)


def _lease(state: LabState, run: Run, kind: str) -> Lease | None:
    for lease in state.leases.values():
        if lease.spec.run == run.opened.run and lease.spec.kind == kind:
            return lease
    return None
