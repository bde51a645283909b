"""What a wire may alter because nobody signs it, the lab's clock and what it heard last, costs time alone."""

from pathlib import Path
from typing import Any

import pytest

from agents import at_a_lab, complete, learning, until
from archipel.node import patience
from archipel.node.agent import Agent
from archipel.node.clock import LAST_SEQ
from stub_worker import StubWorker
from wire import Wire
from world import World

pytestmark = pytest.mark.usefixtures("stub")

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    "lies",
    [
        pytest.param({"last_seq": LAST_SEQ - 1}, id="the last number"),
        pytest.param({"now_ms": LAST_SEQ // 1000 - 1}, id="ahead", marks=pytest.mark.slow),
        pytest.param({"now_ms": 0}, id="1970"),
    ],
)
@pytest.mark.parametrize("altered", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_clock_that_was_altered_on_the_wire_is_read_again(
    world: World,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    lies: dict[str, int],
    altered: int,
) -> None:
    monkeypatch.setattr(patience, "backoff_s", lambda attempt, draw: 0.01)
    wire, seen = Wire(), []

    async def alter(what: str, document: Any) -> Any:
        if what.startswith("GET /keys/"):
            seen.append(document)
            return document | lies if len(seen) <= altered else document
        return document

    async def story(agent: Agent) -> None:
        wire.on_answer = alter
        await until(complete(world), learning(world))

    wire.on_answer = alter
    at_a_lab(world, folder, story, wire)
    assert len(seen) >= 1
    assert StubWorker.started == 1
