"""The exact benchmark compares what it says it compares, in a form machines and people read."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from archipel.bench import exact, exact_own
from archipel.bench.exact import PARTS, Place
from archipel.bench.exact_cheats import WAYS, Court, int8_weights, updated
from archipel.bench.exact_job import CAPS, JOB, JobFailed, _differ, run_job
from archipel.bench.exact_learning import Arm, summary
from archipel.bench.exact_own import own_subject
from archipel.bench.exact_plan import ARMS, Plan
from archipel.bench.exact_report import mean_wait, table, total
from archipel.bench.exact_speed import speed, verifying
from archipel.bench.exact_subjects import (
    answers_of,
    engine_of,
    recomputed,
    requests_of,
    subject_named,
)
from archipel.cli.archipel import command
from archipel.cli.recipes import find_recipe


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


def test_recomputing_knows_which_rollout_of_a_group_it_reads() -> None:
    subject = subject_named("llama")
    requests = requests_of(subject, 2, 6, group=3, prompt=9)
    assert [len(each.prompt) for each in requests] == [9, 9]
    made = answers_of(engine_of(subject, "w7a8"), requests)
    assert made.tokens.shape == (6, 6)
    assert len({tuple(row) for row in made.tokens.tolist()}) == 6, "each has noise of its own"
    found = recomputed(subject, "w7a8", requests, made.tokens)
    assert np.array_equal(found.tokens, made.tokens)
    assert np.array_equal(found.logprobs.view(np.uint32), made.logprobs.view(np.uint32))


def test_every_cheat_shows_and_honesty_never_does() -> None:
    subject = subject_named("llama")
    older = updated(subject.state, 1e-2, 1)
    court = Court(replace(subject, older=older), "w7a8", 4)
    rows = {way: court.row(way) for way in WAYS}
    assert (rows["honest"]["tokens_differ"], rows["honest"]["either_differs"]) == (0, 0)
    for way in rows.keys() - {"honest", "one edited token"}:
        assert rows[way]["either_differs"] > 0.9 * rows[way]["positions"], way
    assert rows["one edited token"]["tokens_differ"] == rows["one edited token"]["positions"]
    assert mean_wait(10, 4) == 2.5
    assert mean_wait(10, 0) == np.inf


def test_a_model_that_was_not_trained_here_is_one_made_up_step_older() -> None:
    court = Court(subject_named("llama"), "w7a8", 2)
    assert court.row("honest")["either_differs"] == 0
    assert court.row("one update older")["either_differs"] > 0


def test_int8_weights_are_near_and_not_the_same() -> None:
    state = subject_named("llama").state
    rounded = int8_weights(state)
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(rounded[name], state[name])
    assert torch.allclose(
        rounded[name].float(), state[name].float(), atol=float(state[name].abs().max()) / 50
    )
    assert torch.equal(rounded["model.norm.weight"], state["model.norm.weight"])


def test_speed_and_verifying_have_rows_for_each_batch() -> None:
    subject = subject_named("llama")
    one, three = speed(subject, ["fp32", "w7a8"], [1, 3], rounds=2)
    assert [(row["batch"], row["kind"]) for row in one + three] == [
        (1, "fp32"), (1, "w7a8"), (3, "fp32"), (3, "w7a8")
    ]  # fmt: skip
    assert all(row["low"] <= row["ratio"] <= row["high"] and row["ms"] > 0 for row in one + three)
    assert one[0]["over_bf16"] is None, "not measured, so not told"
    ((alone,), (grouped,)) = verifying(subject, "w13a15", [1, 16], 1, 4)
    assert (alone["group"], alone["positions"], alone["differ"]) == (1, 4, 0)
    assert (grouped["group"], grouped["positions"], grouped["differ"]) == (8, 64, 0)


ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}


@pytest.mark.slow
def test_a_process_under_other_instructions_recomputes_the_same(tmp_path: Path) -> None:
    step = {
        "model": "olmo2",
        "variant": "w13a15",
        "positions": 300,
        "few": 2,
        "new": 100,
        "arm": "x",
    }
    job = {"threads": 1, "steps": [step]}
    assert list(run_job(job | {"do": "record", "cap": "full"}, tmp_path, ENVIRONMENT)) == [[]]
    again = job | {"do": "recompute", "cap": "sse4.1", "answers": str(tmp_path)}
    ((row,),) = run_job(again, tmp_path / "sse", ENVIRONMENT)
    assert (row["positions"], row["cap"]) == (300, "sse4.1")
    assert (row["tokens_differ"], row["logprobs_differ"], row["decoded_differ"]) == (0, 0, 0)
    with pytest.raises(JobFailed, match="recompute under full failed with code 1"):
        list(run_job(again | {"cap": "full", "answers": "/nowhere"}, tmp_path / "bad", ENVIRONMENT))


@pytest.mark.slow
def test_a_job_ends_with_whoever_asked_for_it(tmp_path: Path) -> None:
    """A parent that is killed leaves nobody behind that goes on measuring for nobody."""
    step = {"model": "llama", "variant": "w7a8", "positions": 10**6, "few": 1, "new": 100}
    job = {"do": "record", "cap": "full", "threads": 1, "steps": [step]}
    (tmp_path / JOB).write_text(json.dumps(job))
    command = [sys.executable, "-m", "archipel.bench.exact_job", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=ENVIRONMENT) as child:
        assert child.stdin is not None
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(3)
        child.stdin.close()
        assert child.wait(60) == 1


def test_places_differ_by_bits_and_not_by_what_they_compare_as() -> None:
    these = np.array([0.0, 1.0, np.nan], np.float32)
    assert _differ(these, these.copy()) == 0
    assert _differ(these, np.array([-0.0, 1.0, np.nan], np.float32)) == 1


def test_differences_in_learning_are_paired_by_seed() -> None:
    arms = [Arm(0, "fp32", 0.5, 1, 0.5), Arm(0, "w7a8", 0.6, 1, 0.5)]
    arms += [Arm(1, "fp32", 0.9, 1, 0.5), Arm(1, "w7a8", 0.8, 1, 0.5)]
    first, second = summary(arms)
    assert first["difference"]["mean"] == 0
    assert second["difference"]["mean"] == pytest.approx(0)
    assert second["difference"]["high"] > 1  # two seeds that disagree say little


def test_the_total_of_exactness_is_every_arm_s() -> None:
    rows = [
        {"arm": arm.name, "cap": arm.cap, "model": model, "variant": "w7a8", "positions": 5,
         "tokens_differ": 0, "logprobs_differ": 0, "decoded": 2, "decoded_differ": 0, "digest": "ab"}
        for arm in ARMS
        for model in ("llama", "qwen3")
    ]  # fmt: skip
    found = total(rows)
    assert (found["arms"], found["caps"], found["positions"]) == (7, 4, 70)
    assert (found["tokens_differ"], found["logprobs_differ"], found["decoded_differ"]) == (0, 0, 0)
    rows[3] |= {"logprobs_differ": 2, "digest": "cd"}
    rows[5] |= {"tokens_differ": 1, "decoded_differ": 4}
    found = total(rows)
    assert (found["tokens_differ"], found["logprobs_differ"], found["decoded_differ"]) == (1, 2, 4)
    text = table({"torch": "2", "cpu": "AVX2", "sources": {}, "steps": {}, "exact": rows})
    assert "70 recomputed, 1 tokens and 2 log-probabilities differ" in text
    assert "over 7 ways, 4 caps" in text
    assert "1 of 2 models and variants" in text


def test_every_positions_of_the_plan_is_recomputed_and_no_more_by_much() -> None:
    place = Place(Path("nowhere"), {}, find_recipe("secret-order"))
    tasks = PARTS["exact"](Plan(models=("demo",)), place)
    asked = sum(step["positions"] for task in tasks[1:] for step in task.steps)
    assert 1_000_000 <= asked < 1_010_000
    assert {arm.cap for arm in ARMS} == CAPS.keys()
    assert len(CAPS) >= 4


def test_a_measurement_that_is_stopped_prints_what_it_has_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever ends it: a signal leaves as Ctrl-C does."""
    plan = ["--out", str(tmp_path), "--quick", "--part", "verify"]
    said: list[list[int]] = []

    def verifying(subject: Any, kind: str, batches: list[int], rounds: int, new: int) -> Any:
        said.append(batches)
        for batch in batches:
            if len(said) == 1 and batch == 8:
                assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, (
                    "it would end the tests"
                )
                os.kill(os.getpid(), signal.SIGTERM)
            spread = {"ratio": 0.5, "low": 0.4, "high": 0.6}
            yield [{
                "model": "demo", "kind": kind, "batch": batch, "group": 1, "generate_ms": 1.0,
                "differ": 0, "dense": spread, "single": spread,
            }]  # fmt: skip

    monkeypatch.setattr(exact, "verifying", verifying)
    stopped = CliRunner().invoke(command, ["bench", "exact", *plan])
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert f"stopped; the same command with --out {tmp_path} goes on" in stopped.stderr
    assert "not all steps were measured: verify 1 of 4" in stopped.stdout
    assert stopped.stdout.count("0.50 [0.40, 0.60]") == 2
    whole = CliRunner().invoke(command, ["bench", "exact", *plan, "--json"])
    assert [row["batch"] for row in json.loads(whole.stdout)["verify"]] == [1, 8, 1, 8]
    assert said == [[1, 8], [8], [1, 8]]
    assert json.loads(whole.stdout)["steps"] == {"verify": {"of": 4, "found": 4}}
    only_kept = CliRunner().invoke(command, ["bench", "exact", *plan, "--kept", "--json"])
    assert only_kept.stdout == whole.stdout
    assert len(said) == 3


def test_own_models_are_trained_once_and_have_an_older_self(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(exact_own._SIZES, "chars", ("demo", 2))
    text = torch.arange(2000) % 60
    monkeypatch.setattr(exact_own.subjects, "tokens_of", lambda vocab_size: text)
    told: list[str] = []
    subject = own_subject("chars", tmp_path, find_recipe("secret-order"), told.append)
    assert subject.older is not None
    assert any(not torch.equal(subject.state[name], subject.older[name]) for name in subject.state)
    assert subject.text == tuple(text.tolist())
    monkeypatch.setattr(exact_own.subjects, "Learner", None)
    again = own_subject("chars", tmp_path, find_recipe("secret-order"), told.append)
    assert all(torch.equal(subject.state[name], again.state[name]) for name in subject.state)
