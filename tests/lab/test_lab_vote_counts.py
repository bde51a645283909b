"""Who looks at a run's owners costs a lab no count of ballots that has not changed."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from archipel.lab import ownership_routes as routes
from archipel.lab import voting
from archipel.lab.ownership_routes import Counts, ownership_routes
from archipel.lab.ownership_views import ownership_view
from archipel.records.ownership import BallotCast, ProposalOpened, ShareTransferred, VoteDelegated
from archipel.records.ownership_documents import OwnershipView
from archipel.records.recipe_charter import CharterSection, charter_terms
from people import Provider, identity
from world import World, finish

VOTING_MS = 60_000


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.check_replay()
    found.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The votes that were counted, one by one."""
    found: list[int] = []
    count_of = voting.count_of

    def noted(owned: Any, charter: Any, vote: Any) -> Any:
        found.append(vote.entry)
        return count_of(owned, charter, vote)

    monkeypatch.setattr(voting, "count_of", noted)
    return found


def voted(world: World) -> tuple[list[Provider], list[int]]:
    """Three owners, and two open votes."""
    learner = world.started(charter=charter_terms(CharterSection(voting_s=VOTING_MS / 1000)))
    nodes = [world.provider(name) for name in ("one", "two", "three")]
    for each in nodes:
        each.prove()
    finish(world, learner, nodes)
    while learner.work() is not None:
        pass
    nodes[0].speak(ShareTransferred, run="run", to=identity("friend").did, units=10**6)
    for each in nodes[:2]:
        each.speak(ProposalOpened, run="run", about="other", text="meet")
    return nodes, [each.entry for each in world.state.owned["run"].votes]


def shown(world: World, counts: Counts | None = None, after_ms: int = 0) -> OwnershipView:
    args = (world.state, world.run(), world.now_ms + after_ms, 10)
    return ownership_view(*args) if counts is None else ownership_view(*args, counts)


def test_a_vote_is_counted_anew_when_a_ballot_or_a_delegation_came_and_at_no_other_time(
    world: World, looks: list[int]
) -> None:
    nodes, (first, second) = voted(world)
    counts = Counts()

    def told() -> list[int]:
        looks.clear()
        view = shown(world, counts)
        found = looks.copy()
        assert view == shown(world), "as if nothing were remembered"
        return found

    assert told() == [first, second]
    assert told() == []
    nodes[2].speak(BallotCast, run="run", proposal=first, says="yes")
    assert told() == [first]
    nodes[1].speak(VoteDelegated, run="run", to=nodes[2].did)
    assert told() == [first, second]
    nodes[0].speak(ShareTransferred, run="run", to=identity("friend").did, units=10**6)
    assert told() == [], "a share that changes hands changes no vote that is open"


def test_a_vote_whose_time_is_over_is_counted_once_however_long_no_entry_comes(
    world: World, looks: list[int]
) -> None:
    nodes, entries = voted(world)
    nodes[2].speak(BallotCast, run="run", proposal=entries[0], says="yes")
    counts = Counts()
    views = [shown(world, counts, VOTING_MS + n) for n in range(3)]
    assert sorted(looks) == entries
    assert [at_no_time(each) for each in views] == [at_no_time(shown(world, None, VOTING_MS))] * 3


def at_no_time(view: OwnershipView) -> OwnershipView:
    return view.model_copy(update={"now_ms": 0})


def test_the_page_of_a_runs_owners_counts_once_for_all_who_ask(
    world: World, looks: list[int]
) -> None:
    _, entries = voted(world)
    api = FastAPI()
    ownership_routes(api, world.lab)

    async def asked() -> list[int]:
        transport = httpx.ASGITransport(api, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://lab.test") as client:
            told = await asyncio.gather(*(client.get("/runs/run/ownership") for _ in range(4)))
        return [each.status_code for each in told]

    assert asyncio.run(asked()) == [200] * 4
    assert sorted(looks) == entries


def test_no_more_votes_are_remembered_than_its_bound(
    world: World, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, entries = voted(world)
    monkeypatch.setattr(routes, "MAX_COUNTS", 1)
    counts = Counts()
    for _ in range(2):
        shown(world, counts)
    assert looks == entries * 2


def test_votes_of_one_name_in_two_ledgers_are_not_taken_for_each_other(world: World) -> None:
    nodes, (first, _) = voted(world)
    counts, before = Counts(), shown(world)
    owned = world.state.owned["run"]
    nodes[0].speak(BallotCast, run="run", proposal=first, says="no")
    assert shown(world, counts) != before
    old = replace(world.state, owned=world.state.owned.put("run", owned))
    assert ownership_view(old, world.run(), world.now_ms, 10, counts).votes == before.votes
