"""What a lab shows of itself: plain values for JSON, computed from the state and the time. Pure."""

from typing import Any

from archipel.lab import decide
from archipel.lab.state import LabState, Node, Run, batch_results
from archipel.records.statements import ResultInput, RolloutSpec

MAX_VERSIONS_PER_PAGE = 1000


def run_view(state: LabState, run: Run, now_ms: int) -> dict[str, Any]:
    """Where a run stands."""
    pace = run.opened.pace
    elapsed_ms = learning_ms(run, now_ms)
    return {
        "run": run.opened.run,
        "phase": run.phase.value,
        "version": run.version,
        "versions": pace.versions,
        "recipe": run.opened.recipe.digest,
        "groups_accepted": run.num_groups,
        "groups_in_flight": decide.in_flight(state, run),
        "groups_in_pool": len(run.pool),
        "groups_admissible": decide.capacity(run),
        "tokens": run.num_tokens,
        "rollout_bytes": run.rollout_bytes,
        "staleness": {str(age): count for age, count in sorted(run.staleness.items())},
        "learner_utilisation": run.learner_busy_ms / elapsed_ms if elapsed_ms else 0.0,
        "reward": _newest_metric(run, "reward_micro"),
        "opened_at_ms": run.opened_at_ms,
        "published_at_ms": list(run.published_at_ms[-2:]),
        "evaluations": [
            {"version": version, **dict(done.metrics)}
            for version, done in sorted(run.evaluations.items())
        ],
        "rewards": rewards(run),
        "spent_micro": sum(
            lease.price_micro for lease in state.leases.values() if lease.spec.run == run.opened.run
        )
        + run.num_groups * pace.price_micro,
    }


def learning_ms(run: Run, now_ms: int) -> int:
    """From version 0 to the newest version (or now, while more are to come)."""
    if not run.published_at_ms:
        return 0
    end = run.published_at_ms[-1] if run.version == run.opened.pace.versions else now_ms
    return max(end - run.published_at_ms[0], 1)


def rewards(run: Run) -> list[float]:
    """Mean reward of the batch that made each version, from version 1 on."""
    return [
        version.metrics["reward_micro"] / 1e6
        for version in run.versions[1:]
        if "reward_micro" in version.metrics
    ]


def node_view(state: LabState, node: Node, now_ms: int) -> dict[str, Any]:
    """One node's totals."""
    return {
        "node": node.did,
        "kinds": list(node.capabilities.kinds),
        "engine": node.capabilities.engine,
        "device": node.capabilities.device,
        "batch_invariant": node.capabilities.batch_invariant,
        "protections": list(node.capabilities.protections),
        "groups": node.groups,
        "tokens": node.tokens,
        "groups_per_s": node.rate_micro / 1e6,
        "bytes_in": node.bytes_in,
        "leases": [lease.work for lease in state.leases.values() if lease.node == node.did],
        "expired": node.expired,
        "returned": node.returned,
        "present": node.present,
        "silent_s": max(now_ms - node.last_seen_ms, 0) / 1000,
        "credit_micro": state.balances.get(node.did, 0),
    }


def run_opening_view(run: Run) -> dict[str, Any]:
    """What a node or an update process needs to know of a run before it works."""
    opened = run.opened
    return {
        "run": opened.run,
        "recipe": opened.recipe.model_dump(mode="json"),
        "pace": opened.pace.model_dump(mode="json"),
        "model": [file.model_dump(mode="json") for file in opened.model],
        "trusted": list(opened.trusted),
        "opened_at_ms": run.opened_at_ms,
    }


def key_view(state: LabState, did: str) -> dict[str, Any]:
    """What a key that speaks to this lab again must know: its next number has to exceed this."""
    last = max(state.sequences.get(did, 0), state.asked.get(did, 0))
    return {"did": did, "last_seq": last}


def versions_view(run: Run, since: int) -> list[dict[str, Any]]:
    """The weight chain from version `since` on, one page."""
    keep = {"version", "parent", "policy", "manifest", "anchor", "delta", "metrics"}
    page = run.versions[since : since + MAX_VERSIONS_PER_PAGE]
    return [version.model_dump(mode="json", include=keep) for version in page]


def update_inputs(run: Run, version: int) -> tuple[ResultInput, ...] | None:
    """The results version `version` is or will be made from; None while they are not all here."""
    if 0 <= version <= run.version:
        return run.updates[version]
    if version != run.version + 1 or decide.missing_groups(run):
        return None
    return batch_results(run, version)


def lease_views(state: LabState, now_ms: int) -> list[dict[str, Any]]:
    """Every open lease and how long it still has."""
    return [
        {
            "work": lease.work,
            "kind": lease.spec.kind,
            "node": lease.node,
            "version": lease.spec.version,
            "groups": len(lease.spec.groups) if isinstance(lease.spec, RolloutSpec) else 0,
            "age_s": (now_ms - lease.granted_at_ms) / 1000,
            "left_s": (lease.deadline_ms - now_ms) / 1000,
        }
        for lease in state.leases.values()
    ]


def _newest_metric(run: Run, name: str) -> float | None:
    for version in reversed(run.versions):
        if name in version.metrics:
            return version.metrics[name] / 1e6
    return None
