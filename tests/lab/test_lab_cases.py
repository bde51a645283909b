"""What is remembered of cases, for whom they stand, and when they are over: slices made by hand, no lab."""

from typing import Any

import pytest

from archipel.lab import verdicts
from archipel.lab.audits import (
    MAX_CLOSED,
    Audits,
    audits,
    awaits_draw,
    closed,
    closed_case,
    decided,
    holder,
    is_at_work,
    of_party,
    pending,
    remembered,
)
from archipel.lab.cases import Case, Committed, Opinion, Outcome, Stage, Verdict
from archipel.lab.drawing import MAX_DRAW_LAG, drawn
from archipel.lab.programmes import RULES_OF
from archipel.lab.state import LabState, Run
from archipel.records.audits import AuditsDrawn
from archipel.records.changed import changed
from archipel.records.documents import AcceptedWork
from archipel.records.table import Table
from people import identity
from specimens import ANSWERS, SMALL, SPECS

ONE, TWO, LAB = (identity(name).did for name in ("one", "two", "lab"))
OPENED: Any = SMALL["run.opened"]
ROOT = "sha256:" + "0" * 64


def answer(number: int, party: str = ONE) -> Committed:
    done = AcceptedWork(work=f"run.{number}", spec=SPECS["rollout"], answer=ANSWERS["rollout"])
    return Committed(party, 1000, number, ROOT, 0, 10, done)


def case(number: int, party: str = ONE, **fields: Any) -> Case:
    return Case(answer(number, party), 0, **fields)


def verdict(outcome: Outcome) -> Verdict:
    return Verdict(outcome, "because", 5, False)


def run(**known: Any) -> Run:
    course = RULES_OF["rl"].begin(OPENED.pace)
    return Run(OPENED, 0, 1, course, attached={"audit": Audits(**known)})


def ended(found: Run, number: int, outcome: Outcome) -> Run:
    return over(found, case(number, verdict=verdict(outcome)))


def over(found: Run, ending: Case) -> Run:
    return closed(decided(found, ending), ending)


def test_the_newest_verdicts_are_remembered_of_either_sort_in_their_order() -> None:
    found = run()
    for number in range(MAX_CLOSED + 3):
        found = ended(found, number, Outcome.VERIFIED)
    found = ended(found, 1000, Outcome.HARD)
    works = [each.work for each in audits(found).closed]
    assert works == [f"run.{number}" for number in (*range(3, MAX_CLOSED + 3), 1000)]
    for number in range(1001, 1001 + MAX_CLOSED):
        found = ended(found, number, Outcome.LAPSED)
    works = [each.work for each in audits(found).closed]
    assert "run.1000" not in works
    assert len(works) == 2 * MAX_CLOSED
    assert dict(audits(found).outcomes) == {
        "verified": MAX_CLOSED + 3,
        "hard": 1,
        "lapsed": MAX_CLOSED,
    }


def test_a_verdict_after_a_contest_counts_instead_of_the_one_before() -> None:
    found = ended(run(), 1, Outcome.HARD)
    again = case(1, verdict=verdict(Outcome.VERIFIED), before=verdict(Outcome.HARD))
    found = over(found, again)
    assert dict(audits(found).outcomes) == {"hard": 0, "verified": 1}
    assert [each.work for each in audits(found).closed] == ["run.1"]


def test_a_case_without_a_verdict_cannot_be_closed_and_only_its_own_is_no_longer_decided() -> None:
    with pytest.raises(ValueError, match=r"run\.1 has no verdict"):
        closed(run(), case(1))
    found = decided(decided(run(), case(1)), case(2))
    found = ended(found, 1, Outcome.SOFT)
    assert audits(found).decided == ("run.2",)
    assert set(audits(found).cases) == {"run.2"}


def test_what_is_open_of_a_batch_is_what_waits_or_nobody_found_right() -> None:
    found = run(
        waiting=Table({"run.1": answer(1)}),
        cases=Table({"run.2": case(2), "run.3": case(3, stage=Stage.SEEN), "run.4": case(4, holder="run.9")}),
    )  # fmt: skip
    assert pending(found, ["run.4", "run.3", "run.2", "run.1", "run.0"]) == [
        "run.4",
        "run.2",
        "run.1",
    ]
    assert holder(found, ["run.1", "run.2", "run.4"]) == "run.9"
    assert holder(found, ["run.1", "run.2"]) is None
    assert awaits_draw(found)
    assert is_at_work(found)
    assert not pending(run(), ["run.1"])
    assert not is_at_work(run())
    only_cases = run(cases=Table({"run.2": case(2)}))
    assert pending(only_cases, ["run.2"]) == ["run.2"]
    assert is_at_work(only_cases)
    assert not awaits_draw(only_cases)


def test_the_cases_of_a_party_come_closed_ones_first_then_by_their_answers() -> None:
    found = run(
        cases=Table({"run.9": case(9), "run.7": case(7), "run.8": case(8, TWO)}),
        closed=(case(30, verdict=verdict(Outcome.SOFT)), case(31, TWO, verdict=verdict(Outcome.SOFT))),
    )  # fmt: skip
    assert [each.work for each in of_party(found, ONE)] == ["run.30", "run.7", "run.9"]
    assert closed_case(found, "run.31") is not None
    assert closed_case(found, "run.9") is None


def test_what_is_learned_of_a_case_later_is_remembered_where_it_is_and_nowhere_else() -> None:
    found = run(cases=Table({"run.9": case(9)}), closed=(case(30), case(31)))
    for number in (9, 31, 77):
        found = remembered(found, case(number, planted="agree"))
    assert audits(found).cases["run.9"].planted == "agree"
    assert [each.planted for each in audits(found).closed] == ["", "agree"]
    assert "run.77" not in audits(found).cases


def opinion(auditor: str, says: str, cannot: Any = None) -> Opinion:
    return Opinion(auditor, False, "run.9", 250, says, None, cannot)


def test_who_could_not_tell_is_told_by_the_verdict_that_nobody_could() -> None:
    two = (opinion("b", "cannot", "weights"), opinion("a", "cannot", "contract"))
    found = verdicts.lapsed(case(1, opinions=two), "nobody came", 9).verdict
    assert found is not None
    assert (found.outcome, found.reason) == (Outcome.LAPSED, "nobody came")
    role = Opinion("role", True, "run.10", 0, "cannot", None, "record")
    said = verdicts.heard(case(1, opinions=two), role, False, 9).verdict
    assert said is not None
    assert said.reason == "nobody could tell (contract, record, weights)"
    assert not said.by_trusted
    assert not list(verdicts.wronged(case(1, opinions=two, verdict=said)))
    mixed = case(1, opinions=(opinion("a", "agree"), opinion("b", "agree")), verdict=found)
    assert not list(verdicts.wronged(mixed))
    assert not list(verdicts.upheld(mixed)), "a verdict that tells nothing is nobody's proof"


def test_a_case_that_somebody_found_right_ends_as_right_when_nobody_comes_any_more() -> None:
    seen = case(1, stage=Stage.SEEN, opinions=(opinion("a", "agree"),))
    found = verdicts.lapsed(seen, "nobody came", 9).verdict
    assert found is not None
    assert found.outcome is Outcome.VERIFIED
    again = verdicts.lapsed(case(1, before=verdict(Outcome.HARD)), "nobody came", 9).verdict
    assert again is not None
    assert (again.outcome, again.is_final) == (Outcome.HARD, True)


@pytest.mark.parametrize(
    ("size", "is_lawful"), [(50_000, True), (50_001, False), (40_000, False), (40_001, True)]
)
def test_a_draw_is_by_more_than_the_one_before_and_by_no_more_than_there_is(
    size: int, is_lawful: bool
) -> None:
    state = LabState(lab=LAB, size=50_000, drew=(40_000, 0))
    said = AuditsDrawn(lab=LAB, author=LAB, seq=1, size=size, root=ROOT)
    if is_lawful:
        assert drawn(state, said, 9).drew == (50_000, 9)
        with pytest.raises(ValueError, match="expected the lab"):
            drawn(state, said.model_copy(update={"author": ONE}), 9)
    else:
        with pytest.raises(ValueError, match="expected more than 40000"):
            drawn(state, said, 9)


@pytest.mark.parametrize(("lag", "is_lawful"), [(0, False), (1, True)])
def test_a_draw_leaves_out_no_more_entries_than_a_disk_is_behind(lag: int, is_lawful: bool) -> None:
    state = changed(LabState(lab=LAB), size=50_000)
    size = state.size - MAX_DRAW_LAG + lag
    said = AuditsDrawn(lab=LAB, author=LAB, seq=1, size=size, root=ROOT)
    if is_lawful:
        assert drawn(state, said, 9).drew == (50_000, 9)
    else:
        with pytest.raises(ValueError, match="all but 16384"):
            drawn(state, said, 9)
