"""What `bench structured` counts: the same steps with and without a schema, and what the masks took of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archipel.bench import structured
from archipel.bench.structured import DOCUMENTS, QUICK, measure, overhead, table
from serve.served_models import tiny_model

pytest.importorskip("llguidance")


def test_both_sides_take_the_same_steps_and_the_masks_time_is_part_of_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[int, int, bool]] = []
    steps_of = structured._steps

    def counted(engine: Any, prompts: Any, steps: int, made: Any, spent: list[float]) -> Any:
        taken.append((len(prompts), steps, made is not None))
        found = steps_of(engine, prompts, steps, made, spent)
        assert (spent[0] > 0) is (made is not None)
        return found

    monkeypatch.setattr(structured, "_steps", counted)
    found: dict[str, Any] = {}
    measure(tiny_model(tmp_path / "m"), replace(QUICK, clients=(2,), steps=6), list[str]().append, found)  # fmt: skip
    measured = [each for each in taken if each[0] == 2]
    assert len(measured) == len(DOCUMENTS) * QUICK.rounds * 2
    assert sum(is_bent for *_, is_bent in measured) * 2 == len(measured)
    for row in found["rows"]:
        assert len(row["bent_s"]) == len(row["free_s"]) == len(row["mask_s"]) == QUICK.rounds
        assert all(mask < bent for mask, bent in zip(row["mask_s"], row["bent_s"], strict=True))
    json.dumps(found, allow_nan=False)
    assert all(name in table(found) for name in DOCUMENTS)


def test_what_is_added_is_told_round_by_round_and_by_hand() -> None:
    row = {"free_cpu_s": [1.0, 2.0, 4.0], "bent_cpu_s": [1.1, 2.2, 4.4]}
    found = overhead(row)
    assert found.mean == pytest.approx(0.1)
    assert found.half_width == pytest.approx(0.0, abs=1e-9)
    assert table({}) == "nothing was measured yet"
