"""What an agent counted, as people and Prometheus read it."""

from pathlib import Path
from types import SimpleNamespace

from archipel.node.divided import Divided
from archipel.node.figures import SeveralCollector
from archipel.node.stints import spent
from archipel.node.totals import Totals, TotalsCollector
from specimens import SMALL

GRANT = SMALL["lease.granted (rollout)"]


def busy() -> Totals:
    totals = Totals()
    for outcome in ("accepted", "returned", "accepted", "lost"):
        totals.count(outcome, "run.7", "time is up")
    totals.earned(GRANT, {"num_tokens": 500}, 1.0)
    totals.busy_s, totals.waiting_s = 4.0, 1.5
    totals.progressed(7)
    return totals


def test_words_say_what_was_done_at_which_rate_and_for_how_much() -> None:
    totals = busy()
    assert totals.outcomes() == "2 accepted, 1 lost, 1 returned"
    assert totals.rate() == f"{len(GRANT.spec.groups)} groups, 500 tokens (125/s busy)"
    assert totals.earnings() == f"{GRANT.price_micro / 1e6:.6f} credits here"
    totals.before_micro = 2_000_000
    assert totals.earnings().endswith(f", {2 + GRANT.price_micro / 1e6:.6f} in all")
    assert str(totals.last_loss) == "run.7 lost: time is up"


def test_words_before_any_work_say_so() -> None:
    assert Totals().outcomes() == "no work yet"
    assert Totals().rate() == ""  # nor for a trusted role, which samples nothing
    assert Totals().last_loss is None


def test_earnings_add_up_and_each_runs_newest_version_stays() -> None:
    totals = Totals()
    older = GRANT.model_copy(update={"spec": GRANT.spec.model_copy(update={"version": 0})})
    other = older.model_copy(update={"spec": older.spec.model_copy(update={"run": "other"})})
    for grant, values in ((GRANT, {"num_tokens": 3}), (older, {"num_tokens": "many"}), (other, {})):
        totals.earned(grant, values, 1.0)
    assert totals.versions == {GRANT.spec.run: GRANT.spec.version, "other": 0}
    assert GRANT.spec.version > 0
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
        ("archipel_node_policy_version", GRANT.spec.run): GRANT.spec.version,
    }


def test_prometheus_gets_them_by_lab_and_how_the_machine_is_divided(tmp_path: Path) -> None:
    machine = Divided(tmp_path)
    machine.agree({"http://a": 3.0, "http://b": 1.0}, {"p": 0.25})
    machine.account = spent(machine.account, "http://a", 8.0, {"http://a": ("p",)}, ())
    agents = {"http://a": SimpleNamespace(totals=busy()), "http://b": SimpleNamespace(totals=Totals())}  # fmt: skip
    collector = SeveralCollector(SimpleNamespace(machine=machine, agents=agents))
    families = list(collector.collect())
    found = {
        (sample.name, *sample.labels.items()): sample.value
        for family in families
        for sample in family.samples
    }
    assert len({each.name for each in families}) == len(families), "each family comes once"
    one, other = ("lab", "http://a"), ("lab", "http://b")
    for name, of_one, of_other in (
        ("archipel_node_tokens_total", 500, 0),
        ("archipel_node_tokens_at_hand", 7, 0),
        ("archipel_node_busy_seconds_total", 4.0, 0.0),
        ("archipel_node_stint_seconds_total", 8.0, 0.0),
        ("archipel_node_weight", 3.0, 1.0),
    ):
        assert (found[name, one], found[name, other]) == (of_one, of_other)
    assert found["archipel_node_works_total", one, ("outcome", "accepted")] == 2
    assert found["archipel_node_policy_version", one, ("run", GRANT.spec.run)] == GRANT.spec.version
    pledge = ("pledge", "p")
    assert found["archipel_node_pledge_owed_seconds", pledge] == 2.0
    assert found["archipel_node_pledge_given_seconds_total", pledge] == 0.0
    machine.agree({"http://b": 1.0}, {})
    del agents["http://a"]
    left = [sample for family in collector.collect() for sample in family.samples]
    assert all(one not in each.labels.items() for each in left), "a lab that is left is gone"
