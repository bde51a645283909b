"""A replay finds every state that a snapshot may show, and keeps few of them."""

import json
from pathlib import Path

import pytest

from archipel.lab import recovery
from archipel.lab.apply import apply
from archipel.lab.entry import read_entry
from archipel.lab.state import LabState

LEDGER = Path(__file__).parents[1] / "vectors" / "ledger-1.json"


@pytest.mark.parametrize("every", [1, 4])
def test_every_state_within_the_lag_is_found_and_few_are_kept(
    every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lag = 6
    monkeypatch.setattr(recovery, "KEEP_EVERY", every)
    monkeypatch.setattr(recovery, "MAX_SNAPSHOT_LAG", lag)
    kept = json.loads(LEDGER.read_text())
    states = [LabState(lab=kept["lab"])]
    recent = recovery._Recent(states[0])
    for text in kept["entries"][:20]:
        entry = read_entry(text.encode())
        states.append(apply(states[-1], entry.statement, entry.at_ms))
        recent.add(text.encode(), states[-1])
        newest = len(states) - 1
        for size in range(max(newest - lag, 0), newest + 1):
            assert recent.at(size) == states[size]
        assert recent.at(newest + 1) is None
        assert len(recent._kept) <= lag // every + 2
    assert recent.at(0) is None
