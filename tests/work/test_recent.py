"""A child keeps little of many runs, and its agent knows how little."""

import asyncio
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archipel.model.manifest import describe
from archipel.model.versions import encode_anchor
from archipel.node.errands import Errands, OpenRun
from archipel.records.words import Needs
from archipel.work import seats
from archipel.work.kind import EngineChoice
from archipel.work.kinds import evaluate, rollout
from archipel.work.messages import LinkMessage
from archipel.work.policies import Policies
from archipel.work.recent import MAX_RUNS_HELD, Recent
from specimens import SPECS
from tiny import tiny_recipe
from work import asked

RUNS = [f"run-{n}" for n in range(MAX_RUNS_HELD + 2)]


def test_the_one_not_asked_for_longest_makes_room() -> None:
    dropped: list[int] = []
    recent: Recent[str, int] = Recent(dropped.append, limit=2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert dropped == [2]
    assert recent.peek("b") is None
    assert recent.peek("a") == 1, "a look changes no order"
    recent.make_room("a")
    assert dropped == [2], "what is held needs no room"
    recent.make_room("d")
    assert dropped == [2, 1]
    assert recent.take("c") == 3
    assert dropped == [2, 1], "what was taken is nobody's to drop"
    recent.put("e", 5)
    recent.clear()
    assert dropped == [2, 1, 5]


def links(folder: Path) -> tuple[LinkMessage, str]:
    state = {"w": torch.ones(4).to(torch.bfloat16)}
    manifest = describe(state, 0, None)
    (folder / "manifest").write_bytes(manifest.to_bytes())
    (folder / "anchor").write_bytes(encode_anchor(state))
    link = LinkMessage(
        version=0,
        policy=manifest.state,
        manifest=folder / "manifest",
        anchor=folder / "anchor",
        delta=None,
    )
    return link, manifest.state


def context_of(run: str, folder: Path, link: LinkMessage) -> Any:
    recipe = tiny_recipe(1, 0)
    named = recipe.model_copy(update={"run": recipe.run.model_copy(update={"name": run})})
    return asked.context(named, folder / run, folder, chain=(link,))


class Engine:
    def load(self, state: object) -> None:
        raise AssertionError("it holds these weights")


def test_weights_and_engines_of_many_runs_stay_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(seats, "make_engine", lambda model, *_: made.append(model) or Engine())
    link, policy = links(tmp_path)
    kind = rollout.Rollouts(EngineChoice())
    for run in (*RUNS, RUNS[-1], RUNS[-MAX_RUNS_HELD]):
        context = context_of(run, tmp_path, link)
        kind._seats.take(context, kind._policies.advance(context, policy))
    assert made == [tmp_path / run for run in RUNS], "the last ones were at hand"
    assert len(list(kind._seats._whole.values())) == MAX_RUNS_HELD
    assert len(list(kind._policies._held.values())) == MAX_RUNS_HELD


class Examiner:
    """Stands for an examination with a process of its own."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_examiners_of_many_runs_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Examiner] = []
    monkeypatch.setattr(
        evaluate, "examiner_of", lambda context: made.append(Examiner()) or made[-1]
    )
    link, _ = links(tmp_path)
    kind = evaluate.Exams(EngineChoice())
    for run in RUNS:
        kind._examiner(context_of(run, tmp_path, link))
    assert [each.closed for each in made] == [True, True, *[False] * MAX_RUNS_HELD]
    kind.close()
    assert all(each.closed for each in made)


class Told:
    """Stands for `Weights`: notes what the agent takes the child to hold."""

    async def chain(self, opened: Any, held: int, target: int, lowest: int) -> list[LinkMessage]:
        self.held = held
        return []


def grant(run: str, version: int) -> Any:
    """As much of a lease as counts."""
    spec = SPECS["rollout"].model_copy(update={"run": run, "version": version})
    return SimpleNamespace(spec=spec)


works = st.tuples(
    st.sampled_from(RUNS), st.sampled_from(["unprepared", "failed", "half failed", "done"])
)


@given(st.lists(works, max_size=40))
@example(
    [
        ("run-1", "done"),
        ("run-4", "half failed"),
        ("run-0", "half failed"),
        ("run-1", "unprepared"),
        ("run-2", "half failed"),
        ("run-3", "failed"),
        ("run-1", "unprepared"),
    ]
)
@settings(deadline=None, max_examples=200)
def test_an_agent_never_takes_a_child_to_hold_weights_that_are_gone(
    story: list[tuple[str, str]],
) -> None:
    errands = object.__new__(Errands)
    errands.__dict__.update(_held=defaultdict(Recent), _weights=Told())
    child = Policies()

    async def play() -> None:
        for version, (run, outcome) in enumerate(story):
            opened = asked.opened(tiny_recipe(1, 0)).model_copy(update={"run": run})
            here = OpenRun(opened, run, Path(run))
            await errands._chain(here, "rollout", Needs(weights=version))
            believed = errands._weights.held  # type: ignore[attr-defined]  # see Told
            held = child._held.peek(run)
            assert believed == -1 or held == believed, "it would be sent a delta to nothing"
            if outcome == "unprepared":
                continue
            errands.begun(grant(run, version))
            child._held.make_room(run)
            child._held.get(run)
            if outcome == "failed":
                continue
            child._held.put(run, version)  # type: ignore[arg-type]  # as much of a policy as counts
            if outcome == "done":
                errands.finished(grant(run, version))

    asyncio.run(play())
