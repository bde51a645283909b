"""The exact benchmark compares what it says it compares, in a form machines and people read."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from archipel.bench.exact import ARMS, mean_wait
from archipel.bench.exact_cheats import detection, int8_weights, updated
from archipel.bench.exact_job import CAPS, JobFailed, run_job
from archipel.bench.exact_learning import Arm, summary
from archipel.bench.exact_report import table
from archipel.bench.exact_speed import speed, verifying
from archipel.bench.exact_subjects import (
    answers_of,
    engine_of,
    recomputed,
    requests_of,
    subject_named,
)


def test_recomputing_gives_what_was_generated_and_sees_one_token() -> None:
    subject = subject_named("qwen3")
    requests = requests_of(subject, 5, 12)
    made = answers_of(engine_of(subject, "w7a15"), requests)
    found = recomputed(subject, "w7a15", requests, made.tokens)
    assert np.array_equal(found.tokens, made.tokens)
    assert np.array_equal(found.logprobs.view(np.uint32), made.logprobs.view(np.uint32))
    changed = made.tokens.copy()
    changed[3, 4] = (changed[3, 4] + 1) % subject.config.vocab_size
    again = recomputed(subject, "w7a15", requests, changed)
    assert again.tokens[3, 4] == made.tokens[3, 4] != changed[3, 4]
    assert np.array_equal(again.tokens[:3], made.tokens[:3])


def test_every_cheat_shows_and_honesty_never_does() -> None:
    subject = subject_named("llama")
    rows = {
        row["way"]: row for row in detection(subject, "w7a8", 4, updated(subject.state, 1e-2, 1))
    }
    assert (rows["honest"]["tokens_differ"], rows["honest"]["either_differs"]) == (0, 0)
    for way in rows.keys() - {"honest", "one edited token"}:
        assert rows[way]["either_differs"] > 0.9 * rows[way]["positions"], way
    assert rows["one edited token"]["first_token_shows"] == 1
    assert mean_wait(10, 4) == 2.5
    assert mean_wait(10, 0) == np.inf


def test_int8_weights_are_near_and_not_the_same() -> None:
    state = subject_named("llama").state
    rounded = int8_weights(state)
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(rounded[name], state[name])
    assert torch.allclose(
        rounded[name].float(), state[name].float(), atol=float(state[name].abs().max()) / 50
    )
    assert torch.equal(rounded["model.norm.weight"], state["model.norm.weight"])


def test_speed_and_verifying_have_a_row_for_each_engine_and_batch() -> None:
    subject = subject_named("llama")
    rows = speed(subject, ["fp32", "w7a8"], [1, 3], rounds=2)
    assert [(row["batch"], row["kind"]) for row in rows] == [
        (1, "fp32"), (1, "w7a8"), (3, "fp32"), (3, "w7a8")
    ]  # fmt: skip
    assert all(row["low"] <= row["ratio"] <= row["high"] and row["ms"] > 0 for row in rows)
    (checked,) = verifying(subject, ["w13a15"], [2], 4)
    assert (checked["positions"], checked["tokens_differ"]) == (8, 0)


@pytest.mark.slow
def test_a_process_under_other_instructions_recomputes_the_same(tmp_path: Path) -> None:
    case = {"model": "olmo2", "variant": "w13a15", "positions": 300, "few": 2, "name": "0"}
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    job = {"threads": 1, "cases": [case]}
    run_job(job | {"do": "record", "cap": "full"}, tmp_path, environment)
    again = job | {"do": "recompute", "cap": "sse4.1", "answers": str(tmp_path)}
    (row,) = run_job(again, tmp_path / "sse", environment)["rows"]
    assert row["positions"] >= 300
    assert (row["tokens_differ"], row["logprobs_differ"], row["decoded_differ"]) == (0, 0, 0)
    with pytest.raises(JobFailed, match="recompute under full failed"):
        run_job(again | {"cap": "full", "answers": "/nowhere"}, tmp_path / "bad", environment)


def test_differences_in_learning_are_paired_by_seed() -> None:
    arms = [Arm(0, "fp32", 0.5, 1, 0.5), Arm(0, "w7a8", 0.6, 1, 0.5)]
    arms += [Arm(1, "fp32", 0.9, 1, 0.5), Arm(1, "w7a8", 0.8, 1, 0.5)]
    first, second = summary(arms)
    assert first["difference"]["mean"] == 0
    assert second["difference"]["mean"] == pytest.approx(0)
    assert second["difference"]["high"] > 1  # two seeds that disagree say little


def test_the_report_has_every_part_and_survives_json() -> None:
    subject = subject_named("llama")
    result = {
        "torch": "2", "cpu": "AVX2",
        "speed": [{"cap": "full", **row} for row in speed(subject, ["fp32"], [1], 2)],
        "exact": [
            {"arm": arm.name, "model": "llama", "variant": "w7a8", "positions": 5, "tokens_differ": 0,
             "logprobs_differ": 0, "decoded": 2, "decoded_differ": 0, "digest": "ab"}
            for arm in ARMS
        ],
    }  # fmt: skip
    text = table(json.loads(json.dumps(result)))
    assert len(text.splitlines()) == 1 + 1 + 2 + 1 + 1 + len(ARMS) + 1
    assert "1 of 1 models and variants" in text
    assert {arm.cap for arm in ARMS} == CAPS.keys()
