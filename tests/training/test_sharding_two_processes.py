"""Two processes of one site train as one process does."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from archipel.training.checkpoint import read_latest
from training.sharded_run import VERSIONS, adapter_chain, chain, supervised_curve

torch.set_num_threads(1)
SCRIPT = Path(__file__).with_name("sharded_run.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One process first; then two, which also restore what the one saved."""
    directory = tmp_path_factory.mktemp("sharded")
    alone = chain(directory / "one")
    command = [sys.executable, str(SCRIPT), str(directory)]
    with ExitStack() as held:
        pair = [held.enter_context(subprocess.Popen([*command, rank])) for rank in ("0", "1")]
        held.callback(lambda: [each.kill() for each in pair])
        assert [each.wait(200) for each in pair] == [0, 0]
    ranks = [json.loads((directory / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    return directory, alone, ranks


@pytest.mark.slow
def test_both_ranks_report_the_same(runs):
    _, _, (first, second) = runs
    assert first == second


@pytest.mark.slow
def test_two_processes_give_the_losses_and_gradients_of_one(runs):
    _, alone, (first, _) = runs
    for found, expected in zip(first["updates"], alone, strict=True):
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert first["sft"] == pytest.approx(supervised_curve(), rel=2e-3)


@pytest.mark.slow
def test_two_processes_take_the_step_that_one_takes(runs):
    directory, _, _ = runs
    for version in range(1, VERSIONS + 1):
        one = read_latest(directory / "one" / str(version)).tensors
        two = read_latest(directory / "two" / str(version)).tensors
        assert one.keys() == two.keys()
        for name, tensor in one.items():
            # Adam divides by the gradient's size, which is rounding error where it is near zero.
            torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_a_whole_run_stays_together_up_to_flips_of_the_last_published_bit(runs):
    """A sum in another order may round one weight to the other bfloat16 neighbour."""
    _, alone, (first, _) = runs
    for found, expected in zip(first["chain"], alone, strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-2, abs=1e-3)
        assert found["tokens"] == expected["tokens"]


@pytest.mark.slow
def test_two_processes_train_an_adapter_as_one_does_and_neither_moves_what_it_lies_over(runs):
    _, _, (first, _) = runs
    alone, together = adapter_chain(), first["adapter"]
    assert set(alone["base"] + together["base"]) == {alone["base"][0]}
    assert together["norms"] == pytest.approx(alone["norms"], rel=1e-2, abs=1e-3)
    for found, expected in zip(together["reports"], alone["reports"], strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-2, abs=1e-3)
