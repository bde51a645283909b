"""The adapters' benchmark: what it prints comes from versions that were made, sent and applied."""

import torch

from archipel.bench import adapters
from archipel.bench.adapters import Job, config_of, do, table
from archipel.model.adapter import adapter_shapes
from archipel.model.hollow import hollow
from archipel.records.recipe_model import AdapterSection

torch.set_num_threads(1)


def test_an_adapters_version_is_its_own_tensors_and_costs_less_than_whole_weights() -> None:
    rows = []
    for rank in (0, 4):
        job = Job("demo", rank, 1e-4, updates=1, groups=2, group_size=2)
        rows.append({**vars(job), **do(job)})
    whole, adapter = rows
    config = config_of("demo")
    shapes = adapter_shapes(config, AdapterSection(rank=4).form)
    assert adapter["trained_weights"] == sum(a * b for a, b in shapes.values())
    assert whole["trained_weights"] == sum(each.numel() for each in hollow(config).parameters())
    for key in ("version_bytes", "anchor_bytes", "checkpoint_bytes"):
        assert adapter[key] < whole[key] / 5
    assert len(table(rows).splitlines()) == 4


def test_the_largest_shape_is_smollm2_135m() -> None:
    weights = sum(each.numel() for each in hollow(config_of("135m")).parameters())
    assert weights == 134_515_008
    assert set(adapters.MODELS) == {"demo", "30m", "135m"}
