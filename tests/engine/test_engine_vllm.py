"""What of the vLLM engine can be known without vLLM; the rest is found out by an interpreter that has it.

That interpreter is named by ARCHIPEL_VLLM_PYTHON, or lies in `.venv-vllm`, which `make test-vllm` makes.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from archipel.cli.engines import spread_environment
from archipel.engine.engine import LocalEngine
from archipel.engine.vllm_engine import rollout_seed
from archipel.engine.vllm_start import rank_room
from archipel.records.requests import InvalidRequest
from archipel.records.spread import Spread
from archipel.work.agreement import FLOATS
from engine.vllm_trial import adapters, asked, weights

ROOT = Path(__file__).parents[2]
NAMED = os.environ.get("ARCHIPEL_VLLM_PYTHON")  # noqa: TID251  of this test alone
PYTHON = Path(NAMED) if NAMED else ROOT / ".venv-vllm/bin/python"
TRIAL_LIMIT_S = 1500
"""Three minutes of one quiet core, most of them vLLM's own start."""


def test_rollout_seeds_are_distinct_and_fixed() -> None:
    seeds = {rollout_seed(seed, rollout) for seed in (0, 1, 2**64 - 1) for rollout in range(50)}
    assert len(seeds) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)
    # On every machine and in every release the same: a rollout can be sampled again.
    fixed = {(5, 2): 6940609444997893988, (0, 0): 7656851735468276932}
    fixed[2**64 - 1, 49] = 3353171836124816376
    assert {owner: rollout_seed(*owner) for owner in fixed} == fixed


def test_an_adapter_gets_the_least_room_that_vllm_has_for_it() -> None:
    assert [rank_room(rank) for rank in (0, 1, 8, 9, 320, 512)] == [0, 8, 8, 16, 320, 512]
    with pytest.raises(InvalidRequest, match=r"rank 512 at most, this one has 513; .* archipel"):
        rank_room(513)


def test_what_vllm_is_asked_and_held_against_also_holds_of_our_own_engine() -> None:
    config, requests = asked()
    engine = LocalEngine(config)
    found = {**weights(engine, config, requests)["agreement"]}
    found |= adapters(engine, config, requests)["adapters"]
    assert len(found) == 3 + 2 + 3 + 4
    for name, figures in found.items():
        assert figures["largest"] <= FLOATS["float32"].largest / 10, (name, figures)


def surroundings(folder: Path, devices: int) -> dict[str, str]:
    """As a node gives them to its work process."""
    if not PYTHON.is_file():
        pytest.skip(
            f"no interpreter with vLLM: {PYTHON} is not there; run `make test-vllm`, or name one in "
            "ARCHIPEL_VLLM_PYTHON"
        )
    return {
        **spread_environment(Spread(devices=devices)),
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture(scope="module", params=[1, 2], ids=["one device", "split over two processes"])
def said(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the trial found."""
    folder, devices = tmp_path_factory.mktemp("vllm"), request.param
    done = subprocess.run(
        [PYTHON, "-m", "engine.vllm_trial", folder, str(devices)],
        env=surroundings(folder, devices), capture_output=True, text=True, timeout=TRIAL_LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


pytestmark = pytest.mark.timeout(TRIAL_LIMIT_S + 60)


@pytest.mark.slow
def test_vllm_samples_from_each_version_as_the_trainer_scores_it(said: dict) -> None:
    assert said["before"].startswith("NotLoaded")
    assert len(said["agreement"]) == 3 + 2 + 3
    for name, found in said["agreement"].items():
        assert found["tokens"] >= 90, name
        assert found["mean"] <= FLOATS["float32"].mean / 10, (name, found)
        assert found["largest"] <= FLOATS["float32"].largest / 10, (name, found)
    assert max(said["load_s"]) < said["start_s"] / 2, "in place, without another start"


@pytest.mark.slow
def test_vllm_takes_adapters_of_several_runs_and_the_next_version_of_one(said: dict) -> None:
    assert list(said["adapters"]) == ["a, 0", "b, 1", "a, 2", "none"]
    for name, found in said["adapters"].items():
        assert found["largest"] <= FLOATS["float32"].largest / 10, (name, found)
    assert said["mixed_same"] >= 0.75  # not batch-invariant, but the same model and noise


@pytest.mark.slow
def test_vllm_keeps_to_seeds_stop_tokens_and_what_it_can_do(said: dict) -> None:
    assert said["repeats"]
    assert said["seeds_tell"]
    assert said["parts"], "a rollout's noise is its own, whatever else is asked"
    tokens, finished, whole, stop = said["stopped"]
    assert finished
    assert tokens == whole[: whole.index(stop) + 1]
    for error, words in zip(
        said["refused"],
        ("outside 0..79", "603 together; expected at most 512", "top_k and top_p one after the other",
         "adapter 'c' is not loaded", "weights do not fit"),
        strict=True,
    ):  # fmt: skip
        assert words in error
