"""Who is called to an audit: by lot, in proportion to work that was found right, whoever asks first."""

from collections import Counter
from dataclasses import replace

import pytest

from archipel.lab import calling
from archipel.lab.audits import usual_ms
from archipel.lab.calling import (
    EVERYBODY,
    TURNS,
    Electorate,
    electorate,
    may_be_called,
    may_come,
    turn_of,
)
from archipel.lab.cases import Case
from archipel.lab.looking import TURNS_IN_DEADLINE
from archipel.lab.reputation import Standing
from archipel.records.changed import changed
from courtroom import ALWAYS, audited, case_of, draw, node, opened, sampled, settled
from keyring import delegation
from people import identity
from world import World

WORKERS = ("a", "b", "c", "d", "e")


def voters_of(**weights: int) -> Electorate:
    """Parties of one node each."""
    parties = {f"of {name}": weight for name, weight in weights.items()}
    return Electorate({name: f"of {name}" for name in weights}, parties)


VOTERS = voters_of(a=10, b=20, c=30, d=40, e=50)


@pytest.fixture
def case(world_with_case: Case) -> Case:
    return world_with_case


@pytest.fixture(scope="module")
def world_with_case() -> Case:
    world = World()
    opened(world, ALWAYS)
    work = sampled(world, node(world, "one")).work
    draw(world)
    found = case_of(world, work)
    world.close()
    return found


def drawn(case: Case, number: int) -> Case:
    return replace(case, root=f"{number:064x}")


def called(voters: Electorate, case: Case, turn: int = 0) -> set[str]:
    return {each for each in voters.nodes if may_come(voters, case, turn, each, ())}


def test_one_is_called_and_in_each_turn_one_more(case: Case) -> None:
    for number in range(50):
        each, before = drawn(case, number), set[str]()
        for turn in range(TURNS):
            now = called(VOTERS, each, turn)
            assert before <= now
            assert len(now) == turn + 1
            assert not may_come(VOTERS, each, turn, "idle", ())
            before = now
        assert may_come(VOTERS, each, TURNS, "idle", ())


def test_a_party_is_called_as_often_as_its_share_of_the_work_says(case: Case) -> None:
    """So idle keys that wait for every case get no more of them than their share of the work."""
    weights = {"a": 1, "b": 2, "c": 4, "friend": 13}
    times = Counter(
        each for n in range(2000) for each in called(voters_of(**weights), drawn(case, n))
    )
    for name, weight in weights.items():
        assert abs(times[name] - 100 * weight) < 80


def test_who_may_not_look_counts_for_nobody(case: Case) -> None:
    for number in range(50):
        each = drawn(case, number)
        (first,) = called(VOTERS, each)
        others = [name for name in WORKERS if may_come(VOTERS, each, 0, name, {first})]
        assert len(others) == 1
        assert others != [first]
    assert may_come(VOTERS, case, 0, "idle", set(WORKERS)), "where nobody may, whoever asks may"


def test_nobody_draws_again_by_leaving_or_by_what_others_do_meanwhile(case: Case) -> None:
    five = voters_of(a=10, b=10, c=10, d=10, e=10)
    four = voters_of(a=10, b=10, c=10, d=10)
    more = voters_of(a=11, b=10, c=10, d=10, e=10)
    for number in range(200):
        each = drawn(case, number)
        assert called(five, each) - {"e"} <= called(four, each)
        assert called(five, each) & {"a"} <= called(more, each)
        assert called(more, each) <= called(five, each) | {"a"}


def test_whoever_looks_next_is_another_draw(case: Case) -> None:
    looked = replace(case, tried=("x",))
    assert any(
        called(VOTERS, drawn(case, n)) != called(VOTERS, drawn(looked, n)) for n in range(20)
    )


def test_a_cheat_that_answers_at_once_shortens_no_turn(case: Case) -> None:
    quick = replace(case, answer=changed(case.answer, took_ms=0), opened_at_ms=1000)
    assert [turn_of(quick, 500, 1000 + ms) for ms in (0, 499, 500, 2000)] == [0, 0, 1, 4]
    slow = replace(quick, answer=changed(case.answer, took_ms=900))
    assert [turn_of(slow, 500, 1000 + ms) for ms in (899, 900)] == [0, 1]
    assert turn_of(replace(quick, tried=("x",)), 500, 2000) == 0, "who looked had time as well"


def make_known(world: World, *names: str, verified: int = 5) -> None:
    """These nodes have done so much that was found right."""
    state = world.lab.ahead
    nodes = {identity(name).did: state.nodes[identity(name).did] for name in names}
    world.lab._committer.ahead = changed(
        state,
        nodes=state.nodes.put_all(
            (did, changed(each, standing=Standing(verified=verified)))
            for did, each in nodes.items()
        ),
    )


def test_keys_that_have_done_nothing_are_not_among_those_who_are_called() -> None:
    world = World()
    workers = [node(world, name) for name in WORKERS]
    for number in range(20):
        node(world, f"idle {number}")
    dids = {each.did for each in workers}
    nodes = list(world.state.nodes.values())
    assert electorate(world.state, "audit", nodes) == EVERYBODY, "nothing is known of anybody"
    idle = [each for each in nodes if each.did not in dids]
    good = {
        each.did: changed(each, standing=Standing(verified=7)) for each in nodes if each.did in dids
    }
    found = electorate(world.state, "audit", [*good.values(), *idle])
    assert found.parties == dict.fromkeys(dids, 7)
    assert set(found.nodes) == dids
    assert electorate(world.state, "rollout", good.values()) == EVERYBODY
    assert electorate(world.state, "audit", list(good.values())[:4]) == EVERYBODY
    much = [changed(each, standing=Standing(verified=10**9)) for each in good.values()]
    assert electorate(world.state, "audit", much).parties == dict.fromkeys(
        dids, calling.MOST_WEIGHT
    )
    world.close()


def test_one_answer_found_right_is_enough_and_of_many_parties_those_with_most_are_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    for number in range(8):
        node(world, f"worker {number}")
    nodes = [
        changed(each, standing=Standing(verified=1 + number))
        for number, each in enumerate(world.state.nodes.values())
    ]
    assert sorted(electorate(world.state, "audit", nodes).parties.values()) == list(range(1, 9))
    monkeypatch.setattr(calling, "MOST_PARTIES", 6)
    assert sorted(electorate(world.state, "audit", nodes).parties.values()) == list(range(3, 9))
    world.close()


def test_an_operator_with_many_nodes_is_called_as_one() -> None:
    world = World()
    boss = identity("boss")
    for name in ("one", "two", "three"):
        each = world.provider(name, join=False)
        each.join(delegation=delegation(boss, each.did))
    for name in WORKERS:
        node(world, name)
    nodes = [changed(each, standing=Standing(verified=7)) for each in world.state.nodes.values()]
    found = electorate(world.state, "audit", nodes)
    assert found.parties == dict.fromkeys([boss.did, *(identity(name).did for name in WORKERS)], 7)
    assert len(found.nodes) == 8
    world.close()


def test_whoever_may_come_is_of_a_party_that_may_be_called(case: Case) -> None:
    """The quick answer never says no to whom the whole one says yes, and says no to most."""
    voters = voters_of(**{f"n{number}": number + 1 for number in range(30)})
    asked = refused = 0
    for number in range(40):
        each = replace(drawn(case, number), tried=tuple(f"n{(number + k) % 30}" for k in range(3)))
        involved = {*each.tried, f"n{(number + 7) % 30}"}
        for turn in range(TURNS + 1):
            called = may_be_called(voters, each, turn)
            for did in voters.nodes:
                asked += 1
                refused += called is not None and voters.nodes[did] not in called
                if may_come(voters, each, turn, did, involved):
                    assert called is None or voters.nodes[did] in called
    assert refused > asked // 2
    assert may_be_called(VOTERS, replace(case, tried=("a", "b", "c", "d")), 0) is None
    assert may_be_called(EVERYBODY, case, 0) is None


def test_idle_keys_that_ask_first_get_no_audit_before_those_who_were_called() -> None:
    """Five work; twenty others do nothing but ask for audits."""
    world = World()
    opened(world, ALWAYS, groups_per_update=64)
    workers = [node(world, name) for name in WORKERS]
    idle = [node(world, f"idle {number}") for number in range(5)]
    works = [sampled(world, workers[0]).work for _ in range(3)]
    for each in workers[1:]:
        sampled(world, each)
    draw(world)
    make_known(world, *WORKERS)
    cases = [case_of(world, work) for work in works]
    now = max(each.opened_at_ms for each in cases)
    world.now_ms = now
    assert all(audited(world, each) is None for each in idle)
    taken = [audited(world, each) for each in workers[1:]]
    assert any(taken), "chance, which the seeds of this world fix"
    world.now_ms = now + TURNS * ALWAYS.deadline_ms // TURNS_IN_DEADLINE
    assert audited(world, idle[0]) is not None, "who was called did not come"
    world.close()


def test_who_is_called_is_waited_for_as_long_as_others_answers_took() -> None:
    """A cheat that answers at once does not bring its idle friends in sooner."""
    world = World()
    opened(world, ALWAYS, groups_per_update=64)
    slow, looker = node(world, "slow"), node(world, "looker")
    assert usual_ms(world.run()) == 0
    for _ in range(3):
        slow.kinds = ("rollout",)
        granted = slow.ask()
        assert granted is not None
        world.tick(7000)
        slow.answer(granted)
        draw(world)
        assert audited(world, looker) is not None
        draw(world)
        settled(world, granted.work, node(world, "third"), node(world, "fourth"))
    assert usual_ms(world.run()) == 7000
    world.close()
