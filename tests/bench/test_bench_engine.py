"""The engine benchmark compares what it says it compares, in a form machines and people read."""

import json

import pytest
import torch

from archipel.bench.contestants import Task, contestants_for, workload_named
from archipel.bench.engine import Plan, measure, table
from archipel.bench.roofline import Roofline

pytest.importorskip("transformers")


def test_every_contestant_samples_the_same_number_of_tokens() -> None:
    torch.set_num_threads(1)
    workload = workload_named("demo")
    for group_size in (1, 2):
        task = Task(workload, batch_size=4, group_size=group_size)
        assert len(task.prompts) == 4 // group_size
        counts = {run(task) for run in contestants_for(workload).values()}
        assert counts == {4 * workload.num_new}


@pytest.mark.slow
def test_a_report_has_a_line_per_cell_and_survives_json() -> None:
    plan = Plan(models=("demo",), batch_sizes=(1, 2), group_sizes=(1, 2), rounds=2)
    result = json.loads(json.dumps(measure(plan, lambda text: None)))
    assert [(c["batch_size"], c["group_size"]) for c in result["cells"]] == [(1, 1), (2, 1), (2, 2)]
    for cell in result["cells"]:
        assert cell["ratio"]["low"] <= cell["ratio"]["median"] <= cell["ratio"]["high"]
        assert cell["num_weights"] == 410_240
    assert len(table(result).splitlines()) == 2 + 3 + 1


def test_the_roofline_is_memory_at_batch_one_and_products_at_large_batches() -> None:
    roofline = Roofline(read_bytes_per_s=4e9, float32_flops=1e12, bfloat16_flops=2e12)
    assert roofline.tokens_per_s(1_000_000, 1, "float32") == pytest.approx(1000)
    assert roofline.tokens_per_s(1_000_000, 1, "bfloat16") == pytest.approx(2000)
    assert roofline.tokens_per_s(1_000_000, 10**6, "float32") == pytest.approx(5e5)
