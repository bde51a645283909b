"""After a refusal a node waits, and longer each time until something goes well."""

import asyncio
import types
from pathlib import Path

import pytest

from archipel.node.exchange import LabRefused
from archipel.node.patience import Interrupt, Patience
from archipel.node.setbacks import Setbacks
from archipel.node.settings import NodeSettings
from archipel.node.standing import Standing
from archipel.node.totals import Totals


def test_a_stranger_that_is_no_lab_is_asked_less_and_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []

    def wait_s(attempt: int, draw: float) -> float:
        waits.append(attempt)
        return 0.0

    monkeypatch.setattr("archipel.node.patience.backoff_s", wait_s)
    standing, settings = Standing(), NodeSettings(lab_url="http://lab", home=tmp_path)
    patience = Patience("http://lab", Interrupt(), None, standing)
    setbacks = Setbacks(types.SimpleNamespace(), patience, settings, Totals())

    async def story() -> None:
        for _ in range(4):
            await setbacks.refused(LabRefused("unexpected-answer", "this is no lab", 404))
        standing.well()
        await setbacks.refused(LabRefused("conflict", "another came first", 409))

    asyncio.run(story())
    assert waits == [2, 3, 4, 5, 2]
    assert standing.trouble.reason == "conflict: another came first"
