"""The churn benchmark: what befalls members follows from the seed, and every token is counted once."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise, takewhile
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.bench.churn import Arm, Disturbing, Replayed, measure
from archipel.bench.churn_members import Crew, Throttle, below
from archipel.bench.churn_outcome import Outcome, Slowed, Stopped, Watched, outcome_of
from archipel.bench.churn_plan import LATE_RULES, QUICK, UNDISTURBED, Plan, recipe_of
from archipel.bench.churn_report import arm_line, draw, lines_of, table, to_json, unequal
from archipel.bench.churn_schedule import Event, Rates, What, events
from archipel.cli.archipel import command
from archipel.cli.doors import child_environment
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.kinds.inner_step import InnerStepAnswer, InnerStepSpec
from archipel.records.kinds.merge import MergeAnswer, MergeSpec, Verdict
from archipel.records.statements import LeaseGranted, ModelFile, NodeJoined, RunOpened, WorkAnswered
from archipel.records.terms import Terms
from outer import OUTER_TERMS, outer_pace
from specimens import CAPABILITIES
from work.asked import NOTHING, SOMEBODY

PLAN = Plan(members=2, versions=3, steps=8, batch=2)
TOKENS = 16
"""Of an inner step of `outer_pace`."""
A, B = (f"did:key:z6Mk{letter * 44}" for letter in "AB")


def drawn(seed: int, places: int, rates: Rates, until: float = 200.0) -> list[Event]:
    return list(takewhile(lambda each: each.begins < until, events(seed, places, rates)))


@pytest.mark.parametrize("places", [2, 3, 4, 9])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_place_is_in_one_event_at_a_time_and_at_most_half_of_all_are_in_one(
    seed: int, places: int
) -> None:
    found = drawn(seed, places, Rates(every=0.2))
    assert len(found) > 50
    for number, each in enumerate(found):
        assert each.begins < each.ends
        at_once = [other for other in found[:number] if other.ends > each.begins]
        assert each.place not in {other.place for other in at_once}
        assert len(at_once) < max(1, places // 2)
    assert [each.begins for each in found] == sorted(each.begins for each in found)
    assert {each.what for each in found} == set(What)
    assert {each.place for each in found} == set(range(places))


def test_the_same_seed_draws_the_same_and_another_one_does_not() -> None:
    assert drawn(3, 4, Rates()) == drawn(3, 4, Rates())
    assert drawn(3, 4, Rates()) != drawn(4, 4, Rates())
    with pytest.raises(ValueError, match="positive"):
        Rates(least=2.0, most=1.0)


class FakeCrew(Crew):
    """Writes down what it is told to do."""

    def __init__(self, starting: frozenset[int] = frozenset()) -> None:
        self.done: list[tuple[str, Event]] = []
        self._are_starting = starting

    def starting(self) -> frozenset[int]:
        return self._are_starting

    def begin(self, event: Event) -> str:
        self.done.append(("begin", event))
        return ""

    def end(self, event: Event) -> str:
        self.done.append(("end", event))
        return ""


OFTEN = replace(PLAN, members=4, rates=Rates(every=0.3))
UNTIL = 60.0


@pytest.mark.parametrize("looks", [1, 7, 400])
def test_whoever_looks_seldom_does_the_same_in_the_same_order(looks: int) -> None:
    crew = FakeCrew()
    disturbing = Disturbing(crew, 0, OFTEN, 2.0, lambda told: None)
    for look in range(looks):
        disturbing.until(UNTIL * 2.0 * (look + 1) / looks)
    expected = in_order(drawn(0, 4, OFTEN.rates, UNTIL))
    assert crew.done == expected
    assert sum(disturbing.happened.values()) == sum(what == "begin" for what, _ in crew.done)


def test_whoever_is_starting_is_left_alone_and_counts_as_away() -> None:
    crew = FakeCrew(frozenset({2}))
    disturbing = Disturbing(crew, 0, OFTEN, 1.0, lambda told: None)
    disturbing.until(UNTIL)
    begun = [each for what, each in crew.done if what == "begin"]
    assert begun
    assert 2 not in {each.place for each in begun}
    assert all(before.ends <= after.begins for before, after in pairwise(begun)), "one and place 2"
    assert disturbing.happened["passed over"] == len(drawn(0, 4, OFTEN.rates, UNTIL)) - len(begun)


def in_order(found: list[Event]) -> list[tuple[str, Event]]:
    """Beginnings and ends by their moments."""
    moments = [
        (moment, what, each)
        for each in found
        for moment, what in ((each.begins, "begin"), (each.ends, "end"))
        if moment <= UNTIL
    ]
    return [(what, each) for _, what, each in sorted(moments, key=lambda each: each[0])]


def test_arms_of_a_seed_differ_in_the_rule_for_late_contributions_alone() -> None:
    recipes = {arm: recipe_of(PLAN, arm, 5, Path("corpus")) for arm in PLAN.arms}
    assert tuple(recipes) == (UNDISTURBED, *LATE_RULES)
    told = {arm: each.model_dump() for arm, each in recipes.items()}
    assert {arm: each["merge"].pop("late") for arm, each in told.items()} == {
        UNDISTURBED: "drop",
        "drop": "drop",
        "use": "use",
    }
    assert len({each["run"].pop("name") for each in told.values()}) == 3
    assert told[UNDISTURBED] == told["drop"] == told["use"]
    assert told["use"]["run"]["checkpoint_every"] > PLAN.versions, "what is merged again may not go"


class Ledger:
    """Statements of one run, as a lab would put them in; moments are seconds."""

    def __init__(self) -> None:
        self.history: list[tuple[int, object]] = []
        self._say(0, RunOpened, run="outer", recipe=NOTHING, terms=Terms(**OUTER_TERMS), pace=outer_pace(),
                  model=(ModelFile(name="config.json", blob=NOTHING),), trusted=(SOMEBODY,))  # fmt: skip

    def join(self, at_s: float, node: str) -> None:
        self._say(at_s, NodeJoined, author=node, capabilities=CAPABILITIES)

    def grant(self, at_s: float, work: int, node: str, version: int, steps: int = 10) -> None:
        spec = InnerStepSpec(run="outer", version=version, policy=NOTHING.digest, index=work % 3, steps=steps,
                             first_step=0, corpus=NOTHING)  # fmt: skip
        self._grant(at_s, work, node, spec)

    def answer(self, at_s: float, work: int, steps: int = 10) -> None:
        said = InnerStepAnswer(policy=NOTHING.digest, steps=steps, num_tokens=steps * TOKENS, payload=NOTHING,
                               commitments=(NOTHING.digest,), metrics={}, busy_ms=1)  # fmt: skip
        self._say(at_s, WorkAnswered, work=f"outer.{work}", answer=said)

    def merge(
        self, at_s: float, version: int, merged: tuple[int, ...] = (), refused: tuple[int, ...] = ()
    ) -> None:
        verdicts = [Verdict(work=f"outer.{work}", weight_micro=1) for work in merged]
        verdicts += [
            Verdict(work=f"outer.{work}", weight_micro=0, reason="norm") for work in refused
        ]
        is_void = bool(refused and not merged)
        said = MergeAnswer(version=version, parent=None, policy=NOTHING.digest, manifest=NOTHING, anchor=None,
                           delta=None, memory=None, verdicts=tuple(verdicts), metrics={},
                           void=True if is_void else None)  # fmt: skip
        self._say(at_s, WorkAnswered, work=f"outer.{900 + len(self.history)}", answer=said)

    def examine(self, at_s: float, version: int, micro: int) -> None:
        said = EvaluateAnswer(
            version=version, policy=NOTHING.digest, report=NOTHING, metrics={"loss_micro": micro}
        )
        self._say(at_s, WorkAnswered, work=f"outer.{900 + len(self.history)}", answer=said)

    def _grant(self, at_s: float, work: int, node: str, spec: InnerStepSpec | MergeSpec) -> None:
        self._say(at_s, LeaseGranted, work=f"outer.{work}", node=node, spec=spec, deadline_ms=10**6, price_micro=0,
                  request_seq=1)  # fmt: skip

    def _say(self, at_s: float, form: type, **said: object) -> None:
        plain = {"lab": SOMEBODY, "author": SOMEBODY, "seq": len(self.history) + 1}
        self.history.append((round(at_s * 1000), form(**(plain | said))))


def two_versions() -> Ledger:
    """B is ended in the middle of its second work, 12 to 14 s; work 4 is late for version 2, 3 and 5 are refused."""
    ledger = Ledger()
    ledger.join(1, A)
    ledger.join(2, B)
    ledger.merge(10, 0)
    ledger.examine(10, 0, 5_500_000)
    ledger.grant(10, 1, A, 0)
    ledger.grant(10, 2, B, 0, steps=4)
    ledger.grant(10, 3, A, 0)
    ledger.grant(10, 4, A, 0)
    ledger.answer(11, 1)
    ledger.answer(11, 2, steps=4)
    ledger.answer(12, 3)
    ledger.merge(12, 1, (1, 2), refused=(3,))
    ledger.grant(12, 5, A, 1)
    ledger.grant(12, 6, B, 1)
    ledger.answer(13, 4)
    ledger.answer(14, 5)
    ledger.join(16, B)
    ledger.merge(17, 2, refused=(5,))
    ledger.grant(17, 7, A, 1)
    ledger.answer(18, 7)
    ledger.merge(20, 2, (4, 7))
    ledger.examine(21, 2, 4_000_000)
    return ledger


def test_every_token_is_merged_or_answered_or_trained_in_vain() -> None:
    history = two_versions().history
    found = outcome_of(history, Watched({A, B}, [Stopped(B, 14_000, 3 * TOKENS)]))
    assert found.merged == (10 + 4 + 10 + 10) * TOKENS
    assert found.unmerged == 20 * TOKENS
    assert found.in_vain == 3 * TOKENS
    assert found.kept == 34 / 57
    assert found.contributions == (2, 2)
    assert (found.late, found.void) == (1, 1)
    assert found.losses == {0: 5.5, 2: 4.0}
    assert found.loss == 4.0
    assert (found.seconds, found.moments, found.step_s) == (10.0, {0: 0.0, 1: 2.0, 2: 10.0}, 5.0)
    assert found.per_s == 34 * TOKENS / 10


@pytest.mark.parametrize(
    ("stopped", "steps"),
    [
        ([], 10),
        ([Stopped(B, 14_000, None)], 10),
        ([Stopped(B, 14_000, 99 * TOKENS)], 10),
        ([Stopped(A, 14_000, TOKENS)], 10),
        ([Stopped(B, 11_500, TOKENS)], 10),
        ([Stopped(B, 19_000, 9 * TOKENS), Stopped(B, 14_000, 2 * TOKENS)], 2),
    ],
    ids=["nobody", "silent", "more than asked", "another", "before", "twice"],
)
def test_what_is_not_known_of_a_work_counts_as_all_of_it(
    stopped: list[Stopped], steps: int
) -> None:
    found = outcome_of(two_versions().history, Watched({A, B}, stopped))
    assert found.in_vain == steps * TOKENS


def test_members_are_there_from_joining_to_their_end_and_slow_ones_count_with_their_share() -> None:
    history = two_versions().history
    always = outcome_of(history, Watched({A, B}))
    assert always.there == pytest.approx(2 / 3), "three members were wanted"
    away = outcome_of(history, Watched({A, B}, [Stopped(B, 14_000, 0)]))
    assert away.there == pytest.approx((10 + 8) / 30)
    slow = outcome_of(
        history, Watched({A, B}, [Stopped(B, 14_000, 0)], [Slowed(A, 5_000, 14_000, 0.25)])
    )
    assert slow.there == pytest.approx((10 - 0.75 * 4 + 8) / 30)
    with pytest.raises(ValueError, match="1 versions"):
        outcome_of([each for each in history if each[0] <= 11_000], Watched({A, B}))


def arm(name: str, seed: int, loss: float, merged: int, unequal: int = 0) -> Arm:
    outcome = Outcome(
        seconds=10.0, step_s=5.0, merged=merged, unmerged=0, in_vain=100, contributions=(2, 1), late=0, void=0,
        there=0.75, losses={0: 5.5, 2: loss}, moments={0: 0.0, 2: 10.0},
    )  # fmt: skip
    return Arm(name, seed, 5.0, {"killed": 2}, outcome, Replayed(2, unequal, ()))


def test_ratios_are_to_the_same_seed_and_what_is_unequal_is_told(tmp_path: Path) -> None:
    arms = [
        arm(UNDISTURBED, 0, 4.0, 1000),
        arm("drop", 0, 4.4, 500),
        arm(UNDISTURBED, 1, 3.0, 900),
        arm("drop", 1, 3.6, 300, unequal=1),
    ]
    left_alone, dropped = lines_of(arms)
    assert (left_alone.loss_ratio.mean, left_alone.per_s_ratio.mean) == (1.0, 1.0)
    assert dropped.loss_ratio.mean == pytest.approx((1.1 + 1.2) / 2)
    assert dropped.per_s_ratio.mean == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert dropped.kept.mean == pytest.approx((500 / 600 + 300 / 400) / 2)
    assert "MADE AGAIN, 1 STAGES ARE UNEQUAL" in arm_line(arms[-1])
    assert unequal(arms) == ["drop of seed 1"]
    assert not unequal(arms[:3])
    assert "1.150" in table(arms)
    assert "one seed" in table(arms[1:2])
    told = json.loads(json.dumps(to_json(arms)))
    assert [each["equal"] for each in told["arms"]] == [True, True, True, False]
    assert table([]) == "nothing was measured yet"


def test_what_stops_it_prints_the_runs_that_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(plan: Plan, *_: object):
        assert (plan.members, plan.rates.every, plan.late) == (QUICK.members, 2.0, ("use",))
        yield arm(UNDISTURBED, 0, 4.0, 1000)
        raise KeyboardInterrupt

    monkeypatch.setattr("archipel.bench.churn.measure", stopped)
    words = ["bench", "churn", "--quick", "--late", "use", "--every", "2", "--json"]
    done = CliRunner().invoke(command, [*words, "--out", str(tmp_path)])
    assert done.exit_code != 0
    assert [each["arm"] for each in json.loads(done.stdout)["arms"]] == [UNDISTURBED]


def test_an_unequal_merge_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stages, code in ((0, 0), (1, 1)):
        monkeypatch.setattr(
            "archipel.bench.churn.measure",
            lambda *_, stages=stages: iter([arm("use", 0, 4.0, 1000, stages)]),
        )
        done = CliRunner().invoke(command, ["bench", "churn", "--out", str(tmp_path)])
        assert done.exit_code == code
    assert "use of seed 0" in str(done.exception)


TURNING = """
import subprocess, sys, time
if len(sys.argv) > 1:
    while True:
        pass
child = subprocess.Popen([sys.executable, __file__, "turn"])
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""


@pytest.mark.slow
def test_a_throttled_child_runs_less_and_goes_on_afterwards(tmp_path: Path) -> None:
    program = tmp_path / "turning.py"
    program.write_text(TURNING)
    parent = subprocess.Popen(
        [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())

    def stopped_looks(num: int) -> int:
        looks = 0
        for _ in range(num):
            time.sleep(0.02)
            looks += Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
        return looks

    try:
        assert below(parent.pid) == [child]
        throttle = Throttle(parent.pid, 0.25)
        try:
            assert stopped_looks(100) > 30
        finally:
            throttle.close()
        assert stopped_looks(20) == 0
        assert below(child) == []
    finally:
        parent.communicate(b"", timeout=60)


@pytest.mark.slow
def test_a_picture_is_drawn(tmp_path: Path) -> None:
    draw([arm(UNDISTURBED, 0, 4.0, 1000), arm("drop", 0, 4.4, 500)], tmp_path / "churn.png")
    assert (tmp_path / "churn.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_disturbed_run_comes_to_its_end_and_can_be_merged_again(tmp_path: Path) -> None:
    plan = replace(QUICK, versions=4, late=("use",), minutes=8.0)
    left_alone, disturbed = measure(
        plan, None, tmp_path / "out", child_environment(), lambda told: None
    )
    assert left_alone.outcome.there == 1.0
    assert not left_alone.happened
    assert sum(disturbed.happened.values()) >= 1
    for each in (left_alone, disturbed):
        assert each.replayed == Replayed(4, 0, ())
        assert each.outcome.loss < each.outcome.losses[0]
    assert disturbed.outcome.there < 1.0
