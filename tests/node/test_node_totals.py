"""What an agent counted, as people and Prometheus read it."""

from archipel.node.totals import Totals, TotalsCollector
from specimens import SMALL

GRANT = SMALL["lease.granted (rollout)"]


def busy() -> Totals:
    totals = Totals()
    for outcome in ("accepted", "returned", "accepted", "lost"):
        totals.count(outcome)
    totals.earned(GRANT, {"num_tokens": 500})
    totals.busy_s, totals.waiting_s = 4.0, 1.5
    totals.progressed(7)
    return totals


def test_a_line_says_what_was_done_at_which_rate_and_for_how_much() -> None:
    line = busy().line()
    spec = GRANT.spec
    for part in (
        f"version {spec.version} ",
        f"{len(spec.groups)} groups",
        "500 tokens + 7 at hand (125/s busy)",
        f"{GRANT.price_micro / 1e6:.6f} credits",
        "2 accepted, 1 lost, 1 returned",
    ):
        assert part in line, (part, line)


def test_a_line_before_any_work_says_so() -> None:
    line = Totals().line()
    assert "version -1 · 0 groups · 0 tokens (0/s busy)" in line
    assert line.endswith("no work yet")


def test_earnings_add_up_and_the_newest_version_stays() -> None:
    totals = Totals()
    older = GRANT.model_copy(update={"spec": GRANT.spec.model_copy(update={"version": 0})})
    for grant, values in ((GRANT, {"num_tokens": 3}), (older, {"num_tokens": "many"}), (older, {})):
        totals.earned(grant, values)
    assert totals.version == GRANT.spec.version > 0
    assert totals.tokens == 3
    assert totals.groups == 3 * len(GRANT.spec.groups)
    assert totals.credit_micro == 3 * GRANT.price_micro


def test_prometheus_gets_the_same_numbers() -> None:
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in TotalsCollector(busy()).collect()
        for sample in family.samples
    }
    assert found == {
        ("archipel_node_works_total", "accepted"): 2,
        ("archipel_node_works_total", "returned"): 1,
        ("archipel_node_works_total", "lost"): 1,
        ("archipel_node_tokens_total",): 500,
        ("archipel_node_tokens_at_hand",): 7,
        ("archipel_node_groups_total",): len(GRANT.spec.groups),
        ("archipel_node_busy_seconds_total",): 4.0,
        ("archipel_node_waiting_seconds_total",): 1.5,
        ("archipel_node_policy_version",): GRANT.spec.version,
    }
