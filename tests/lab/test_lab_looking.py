"""Which open case a node may look at: what is told soonest, of everybody who waits, is what looking closely would say."""

import dataclasses
import random
from collections.abc import Iterator

import pytest

from archipel.lab import calling, looking
from archipel.lab.audits import audits, with_audits
from archipel.lab.calling import EVERYBODY, Electorate, may_be_called, may_come, turn_of
from archipel.lab.cases import Case, Stage
from archipel.lab.looking import called, may_look, oldest_for
from archipel.lab.rules import Asking, Crowd
from archipel.lab.state import Run
from archipel.records.changed import changed
from archipel.records.table import Table
from courtroom import ALWAYS, case_of, draw, node, opened, sampled
from people import identity
from world import World

PARTIES = {f"n{n}": f"party {n // 3}" for n in range(24)}
"""Node -> its party: three nodes each."""
VOTERS = Electorate(
    PARTIES, {party: n + 1 for n, party in enumerate(sorted(set(PARTIES.values())))}
)


@pytest.fixture(scope="module")
def before() -> Iterator[tuple[World, Case]]:
    world = World()
    opened(world, ALWAYS)
    work = sampled(world, node(world, "one")).work
    draw(world)
    yield world, case_of(world, work)
    world.close()


def here(did: str) -> frozenset[str]:
    return frozenset({did}).union(n for n, p in PARTIES.items() if p == PARTIES.get(did))


def with_cases(run: Run, case: Case, dice: random.Random) -> Run:
    """Up to four cases of drawn nodes, some looked at before, some appealed."""
    cases = {}
    for number in range(dice.randrange(5)):
        party, *tried = dice.sample(sorted(PARTIES), 1 + dice.randrange(3))
        answer = changed(
            case.answer,
            party=party,
            entry=number,
            record=f"{number}",
            done=case.answer.done.model_copy(update={"work": f"w{number}"}),
        )
        stage = dice.choice((Stage.FIRST, Stage.FIRST, Stage.APPEAL))
        cases[f"w{number}"] = changed(
            case, answer=answer, tried=tuple(tried), stage=stage, root=f"{dice.random()}"
        )
    return with_audits(run, audits(run), cases=Table(cases))


def closely(asking: Asking) -> str | None:
    """The oldest case, by looking at whose each is."""
    run, did, voters = asking.run, asking.node.did, asking.crowd.voters
    for case in sorted(audits(run).cases.values(), key=lambda each: each.answer.entry):
        involved = frozenset().union(*(here(each) for each in (case.answer.party, *case.tried)))
        if did in run.opened.trusted:
            others = asking.crowd.count - asking.is_counted - len(involved)
            may = case.stage is Stage.APPEAL or others <= 0
        else:
            turn = turn_of(case, ALWAYS.deadline_ms // looking.TURNS_IN_DEADLINE, asking.now_ms)
            may = case.wants_strangers and may_come(voters, case, turn, did, involved)
        if may and did not in involved:
            return case.work
    return None


@pytest.mark.parametrize("voters", [VOTERS, EVERYBODY])
def test_whoever_is_told_soon_that_there_is_nothing_would_find_nothing(
    before: tuple[World, Case], voters: Electorate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "MAX_KEYS_PER_OPERATOR", 4)
    world, case = before
    dice, told, found, judged = random.Random(5), 0, 0, 0
    known, judge = world.state.nodes[identity("one").did], world.run().opened.trusted[0]
    for _ in range(150):
        run = with_cases(world.run(), case, dice)
        now_ms = case.opened_at_ms + dice.randrange(4000)
        for did in (*dice.sample(sorted(PARTIES), 6), judge):
            crowd = Crowd(count=dice.randrange(20), voters=voters)
            asking = Asking(
                run,
                changed(known, did=did),
                crowd,
                is_counted=True,
                here=here,
                num_keys=lambda each: len(here(each)) + 1,
                now_ms=now_ms,
            )
            oldest = oldest_for(asking)
            assert (None if oldest is None else oldest.work) == closely(asking)
            if not may_look(run, crowd, now_ms, did):
                told += 1
                assert oldest is None
            elif did != judge:
                only = called(run, crowd, now_ms)
                assert only is None or did in only, "who may look is among those who are called"
                assert only is None or oldest is not None, "and they find something"
            found += oldest is not None
            judged += oldest is not None and did == judge and oldest.stage is not Stage.APPEAL
    assert found > 100
    assert judged > 5, "where there is nobody else, the trusted role looks at once"
    assert told > 100


def test_what_is_open_is_told_anew_when_a_case_changes_or_a_turn_comes_and_only_then(
    before: tuple[World, Case],
) -> None:
    world, case = before
    dice, kept, renewed = random.Random(7), 0, 0
    crowd = Crowd(count=24, voters=VOTERS)
    for _ in range(60):
        run = with_cases(world.run(), case, dice)
        now_ms = case.opened_at_ms + dice.randrange(4000)
        first = looking._open(run, VOTERS, now_ms)
        later_ms = now_ms + dice.randrange(3000)
        for other in (changed(run, next_work=run.next_work + 1), with_cases(run, case, dice)):
            told = called(other, crowd, later_ms)
            is_kept = looking._open(other, VOTERS, later_ms) is first
            looking._last.clear()
            assert told == called(other, crowd, later_ms)
            before_ms = case.opened_at_ms
            told = called(other, crowd, before_ms)
            looking._last.clear()
            assert told == called(other, crowd, before_ms), "also when the clock goes back"
            looking._last.clear()
            kept, renewed = kept + is_kept, renewed + (not is_kept)
    assert kept > 10
    assert renewed > 60


def test_of_a_node_that_audits_nothing_the_lots_are_told_as_closely_where_its_party_is_known(
    before: tuple[World, Case],
) -> None:
    _, case = before
    asked = changed(case, answer=changed(case.answer, party="away", record="r"), tried=())
    blind = may_be_called(VOTERS, asked, 0)
    ranked = calling._ranked(VOTERS, asked.root, "r", 0)
    assert blind == frozenset(ranked[:2]), "its party may be the first"
    knows = dataclasses.replace(VOTERS, others={"away": ranked[0]}.get)
    assert may_be_called(knows, asked, 0) == frozenset(ranked[1:2])
