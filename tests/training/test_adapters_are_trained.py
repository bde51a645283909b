"""Training an adapter: it alone moves, and a restart, a seed or a kill changes nothing else."""

from pathlib import Path

import pytest
import torch

from archipel.model.adapter import (
    PREFIX,
    Adapter,
    adapt,
    adapter_shapes,
    base_state,
    merged,
    set_adapter,
    trained,
)
from archipel.model.manifest import WrongTensors, describe
from archipel.model.network import Decoder, causal_attention
from archipel.records.recipe_model import AdapterSection
from archipel.training.checkpoint import BadCheckpoint, checkpoint_file, read_file
from archipel.training.trainer import Trainer
from training.tiny_learner import rounded_copy, tiny_groups, tiny_model, tiny_recipe

torch.set_num_threads(1)
SECTION = {"rank": 4, "alpha": 8.0}
RECIPE = tiny_recipe(adapter=SECTION, run={"seed": 5})
FORM = RECIPE.adapter.form


def policy_of(trainer: Trainer) -> Decoder:
    """The network that a node would have."""
    model, form = rounded_copy(tiny_model()), trainer.over.form
    adapt(model, form, 0)
    set_adapter(model, Adapter(form, trainer.published_state()))
    return model


def taught(trainer: Trainer, versions: int) -> Trainer:
    for _ in range(versions):
        trainer.update(tiny_groups(policy_of(trainer), trainer.version))
    return trainer


def test_only_the_adapter_moves_and_what_it_lies_over_never_does() -> None:
    model = tiny_model()
    trainer = Trainer(model, RECIPE)
    before, first = base_state(model), trainer.published_state()
    taught(trainer, 3)
    last = trainer.published_state()
    assert trainer.over.base == describe(before, 0, None).state
    assert all(torch.equal(tensor, base_state(model)[name]) for name, tensor in before.items())
    assert {name: tuple(t.shape) for name, t in last.items()} == adapter_shapes(model.config, FORM)
    assert all(not torch.equal(first[name], last[name]) for name in last)
    assert all(each.grad is None for each in model.parameters())


def test_there_is_no_gradient_master_or_moment_for_what_is_frozen(tmp_path: Path) -> None:
    trainer = taught(Trainer(tiny_model(), RECIPE), 1)
    trainer.save(tmp_path)
    saved = read_file(checkpoint_file(tmp_path, 1))
    names = {name.removeprefix(PREFIX) for name in trainer.published_state()}
    assert saved.tensors.keys() == {
        f"{kind}.{name}" for kind in ("master", "exp_avg", "exp_avg_sq") for name in names
    }
    assert saved.facts["base"] == trainer.over.base


def test_it_begins_as_the_base_and_follows_from_the_seed_alone() -> None:
    states = [
        Trainer(tiny_model(), tiny_recipe(adapter=SECTION, run={"seed": seed})).published_state()
        for seed in (5, 5, 6)
    ]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name])
        if name.endswith("lora_B.weight"):
            assert not tensor.any()
        else:
            bound = tensor.shape[1] ** -0.5
            assert tensor.abs().max() <= bound * 1.01
            assert tensor.float().std() == pytest.approx(bound / 3**0.5, rel=0.3)
            assert not torch.equal(tensor, states[2][name])
    ids = torch.tensor([[1, 2, 3]])
    plain, model = rounded_copy(tiny_model()), tiny_model()
    adapt(model, FORM, 0)
    outputs = [net(ids, torch.arange(3)[None], causal_attention) for net in (plain, model)]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("by_file", [False, True])
def test_a_trainer_that_was_restored_goes_on_bit_for_bit(tmp_path: Path, by_file: bool) -> None:
    whole = taught(Trainer(tiny_model(), RECIPE), 4)
    taught(Trainer(tiny_model(), RECIPE), 2).save(tmp_path)
    again = (
        Trainer.unpack(checkpoint_file(tmp_path, 2), tiny_model)
        if by_file
        else Trainer.restore(tmp_path, tiny_model)
    )
    assert (again.version, again.over) == (2, whole.over)
    taught(again, 2)
    expected = whole.published_state()
    assert all(torch.equal(expected[n], tensor) for n, tensor in again.published_state().items())


def test_a_checkpoint_over_other_weights_or_of_no_such_adapter_is_refused(tmp_path: Path) -> None:
    taught(Trainer(tiny_model(), RECIPE), 1).save(tmp_path)
    with pytest.raises(BadCheckpoint, match="adapter over 'sha256"):
        Trainer.restore(tmp_path, lambda: tiny_model(seed=1))
    with pytest.raises(BadCheckpoint, match="give the weights"):
        Trainer.restore(tmp_path)
    Trainer(tiny_model(), tiny_recipe()).save(tmp_path / "whole")
    saved = read_file(checkpoint_file(tmp_path / "whole", 0))
    assert "base" not in saved.facts


def test_an_update_changes_what_the_gradient_of_the_merged_weights_says() -> None:
    """With y = xW' and W' = W + sBA, dL/dB = s dL/dW' A^T: the unmerged way has the same gradient."""
    model = tiny_model()
    adapt(model, FORM, 3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for each in trained(model).values():
            each.copy_(torch.randn(each.shape, generator=generator) * 0.1)
    ids = torch.arange(1, 9)[None]
    positions = torch.arange(8)[None]
    model(ids, positions, causal_attention).square().sum().backward()
    layer = "model.layers.1.mlp.down_proj"
    module = model.get_submodule(layer)
    low, high = module.lora_A.weight, module.lora_B.weight
    whole = rounded_copy(tiny_model())
    with torch.no_grad():
        for name, weight in whole.named_parameters():
            pair = Adapter(FORM, trained(model)).pair(name.removesuffix(".weight"))
            if pair is not None:
                weight.add_(FORM.scale * pair[1] @ pair[0])
    whole(ids, positions, causal_attention).square().sum().backward()
    gradient = whole.get_submodule(layer).weight.grad
    torch.testing.assert_close(high.grad, FORM.scale * gradient @ low.T, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(low.grad, FORM.scale * high.T @ gradient, rtol=1e-3, atol=1e-4)


def test_merged_weights_follow_the_written_rule_and_leave_the_rest_alone() -> None:
    trainer = taught(
        Trainer(tiny_model(), tiny_recipe(adapter=SECTION | {"targets": ["v_proj"]})), 2
    )
    base = base_state(rounded_copy(tiny_model()).requires_grad_(requires_grad=False))
    adapter = Adapter(trainer.over.form, trainer.published_state())
    whole = merged(base, adapter, tiny_model().config)
    moved = {name for name in base if not torch.equal(base[name], whole[name])}
    assert moved == {f"model.layers.{index}.self_attn.v_proj.weight" for index in range(2)}
    for name in moved:
        low, high = (each.double() for each in adapter.pair(name.removesuffix(".weight")))
        total = torch.zeros(base[name].shape, dtype=torch.float64)
        for k in range(4):
            for row in range(total.shape[0]):
                for column in range(total.shape[1]):
                    total[row, column] += high[row, k] * low[k, column]
        expected = (base[name].double() + 2.0 * total).float().bfloat16()
        assert torch.equal(whole[name], expected)


def test_a_first_adapter_of_another_form_is_refused() -> None:
    other = AdapterSection(rank=2).form
    state = {name: torch.zeros(s) for name, s in adapter_shapes(tiny_model().config, other).items()}
    with pytest.raises(WrongTensors, match="has shape"):
        Trainer(tiny_model(), RECIPE, Adapter(FORM, state))
