"""Learning in less memory: what changes no number changes none, and what does is resumed exactly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from archipel.model.network import causal_attention
from archipel.training.checkpoint import checkpoint_file, read_file
from archipel.training.optimiser import AdamSettings, CannotOffload, MasterAdamW
from archipel.training.packing import plan, trees_of
from archipel.training.report import UpdateReport
from archipel.training.scorer import Scorer, Scoring
from archipel.training.sharding import Site
from archipel.training.thrift import PLAIN, _Frame, recompute
from archipel.training.trainer import Trainer
from training.test_routing_is_replayed import expert_config, undecided
from training.tiny_learner import tiny_groups, tiny_model, tiny_recipe

torch.set_num_threads(1)
OPTIONS = {
    "bf16": {"compute": "bfloat16"},
    "recompute": {"recompute_layers": True},
    "8bit": {"moments": "8bit"},
    "offload": {"offload": True},
    "all": {
        "compute": "bfloat16",
        "recompute_layers": True,
        "moments": "8bit",
        "offload": True,
    },
}


def trained(updates: int, sections: dict, memory: dict) -> Trainer:
    trainer = Trainer(tiny_model(3), tiny_recipe(memory=memory, **sections))
    for version in range(updates):
        trainer.update(tiny_groups(tiny_model(3), version))
    return trainer


def masters(trainer: Trainer) -> dict[str, torch.Tensor]:
    state = trainer._optimiser.state()
    return {name: each for name, each in state.items() if name.startswith("master.")}


def gradients(memory: dict) -> dict[str, torch.Tensor]:
    """Of one micro-batch of rows that share prompts."""
    recipe = tiny_recipe(memory=memory)
    model = tiny_model(3)
    scorer = Scorer(model, 1.0, Site(), Scoring(memory=recipe.memory))
    groups = tiny_groups(tiny_model(3), 0)
    trees = [tree for group in groups for tree in trees_of(group, group.rewards, 256)]
    for rows in plan(trees, 4096):
        logprobs_N, _ = scorer(scorer.batch_of(rows))
        logprobs_N.sum().backward()
    return {name: each.grad for name, each in model.named_parameters()}


def test_layers_computed_again_give_the_same_gradients_bit_for_bit() -> None:
    plain, again = gradients({}), gradients({"recompute_layers": True})
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_a_layers_inside_is_not_kept_when_it_is_computed_again() -> None:
    """What autograd holds of a layer does not grow with its inner width."""

    def kept(memory: dict, inner: int) -> int:
        sizes: list[int] = []
        model = tiny_model(3, intermediate_size=inner)
        scorer = Scorer(model, 1.0, Site(), Scoring(memory=tiny_recipe(memory=memory).memory))
        groups = tiny_groups(tiny_model(3), 0)
        trees = [tree for group in groups for tree in trees_of(group, group.rewards, 256)]
        batch = scorer.batch_of(plan(trees, 4096)[0])
        weights = {each.untyped_storage().data_ptr() for each in model.parameters()}

        def count(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in weights:
                sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            scorer(batch)
        return sum(sizes)

    again = {"recompute_layers": True}
    assert kept(again, 24) == kept(again, 240)
    assert kept({}, 24) < kept({}, 240)


def test_a_layer_computed_again_lets_go_of_it_when_the_last_part_was_asked_for() -> None:
    layer, x = torch.nn.Linear(3, 3), torch.ones(2, 3, requires_grad=True)
    frame = _Frame(lambda given: layer(given).tanh().square(), (x,))
    with torch.autograd.graph.saved_tensors_hooks(frame.count, frame.give):
        out = layer(x).tanh().square()
    grads = []
    for _ in range(2):
        grads.append(torch.autograd.grad(out.sum(), x, retain_graph=True)[0])
        assert not frame._made, "nothing is held after a backward pass"
    assert torch.equal(grads[0], torch.autograd.grad(layer(x).tanh().square().sum(), x)[0])
    assert torch.equal(*grads)


def test_a_layer_computed_again_says_the_same_where_no_gradient_is_wanted() -> None:
    layer, x = torch.nn.Linear(3, 3), torch.ones(2, 3)
    plain = layer(x)
    recompute([layer])
    with torch.no_grad():
        assert torch.equal(layer(x), plain)


@pytest.mark.parametrize("memory", [{"recompute_layers": True}, {"offload": True}])
def test_what_only_costs_time_changes_no_bit(memory: dict) -> None:
    plain, thrifty = (masters(trained(3, {}, each)) for each in ({}, memory))
    assert all(torch.equal(plain[name], thrifty[name]) for name in plain)


def test_routers_choose_alike_and_are_told_alike_when_their_layers_are_computed_again() -> None:
    def learned(memory: dict) -> tuple[UpdateReport, dict[str, torch.Tensor]]:
        trainer = Trainer(undecided(expert_config()), tiny_recipe(memory=memory))
        return trainer.update(tiny_groups(tiny_model(3), 0)), masters(trainer)

    (told, plain), (again, thrifty) = learned({}), learned({"recompute_layers": True})
    assert told == again
    assert told.routing is not None
    assert all(torch.equal(plain[name], thrifty[name]) for name in plain)


@pytest.mark.parametrize("memory", [OPTIONS["bf16"], OPTIONS["8bit"]])
def test_narrower_numbers_learn_nearly_the_same(memory: dict) -> None:
    start = masters(trained(0, {}, {}))
    plain, narrow = (masters(trained(4, {}, each)) for each in ({}, memory))
    moved = torch.cat([(plain[name] - start[name]).flatten() for name in plain])
    other = torch.cat([(narrow[name] - start[name]).flatten() for name in plain])
    assert not torch.equal(moved, other)
    assert float(torch.cosine_similarity(moved, other, dim=0)) > 0.97
    assert float((moved - other).norm()) < 0.25 * float(moved.norm())


def test_bf16_keeps_weights_in_two_bytes_and_gradients_in_four_at_the_masters() -> None:
    trainer = trained(1, {"optimiser": {"micro_batch_tokens": 64}}, OPTIONS["bf16"])
    for name, parameter in trainer.scorer.decoder.named_parameters():
        assert parameter.dtype == torch.bfloat16
        assert torch.equal(parameter, trainer._optimiser._masters[name].bfloat16())
    parameter = trainer.scorer.decoder.get_parameter("model.norm.weight")
    master = trainer._optimiser._masters["model.norm.weight"]
    for _ in range(2):  # two micro-batches, each too small for the other in bf16
        (parameter * 1.0).sum().backward()
        (parameter * 2.0**-10).sum().backward()
    assert parameter.grad is None
    assert torch.equal(master.grad, torch.full_like(master, 2 + 2**-9))


@pytest.mark.parametrize(
    ("name", "adapter"), [*((name, None) for name in OPTIONS), ("all", {"rank": 8})]
)
def test_restored_and_continued_equals_never_stopped(
    tmp_path: Path, name: str, adapter: dict | None
) -> None:
    sections = {} if adapter is None else {"adapter": adapter}
    trainer = trained(2, sections, OPTIONS[name])
    trainer.save(tmp_path)
    restored = Trainer.restore(tmp_path, lambda: tiny_model(3))
    for version in (2, 3):
        groups = tiny_groups(tiny_model(3), version)
        assert restored.update(groups) == trainer.update(groups)
    for one, other in zip(
        trainer._optimiser.state().items(), restored._optimiser.state().items(), strict=True
    ):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1]), one[0]


def test_a_checkpoint_holds_eight_bit_moments_as_they_are(tmp_path: Path) -> None:
    trainer = trained(1, {}, OPTIONS["8bit"])
    trainer.save(tmp_path)
    tensors = read_file(checkpoint_file(tmp_path, 1)).tensors
    embedding = "model.embed_tokens.weight"
    assert tensors[f"exp_avg_codes.{embedding}"].dtype == torch.uint8
    assert tensors[f"exp_avg_root_scales.{embedding}"].shape == (24, 1)
    assert tensors["exp_avg.model.norm.weight"].dtype == torch.float32, "vectors stay as they were"
    assert f"exp_avg.{embedding}" not in tensors


def test_several_processes_refuse_to_offload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archipel.training.optimiser.this_site", lambda: Site(0, 2))
    memory = PLAIN.model_copy(update={"offload": True})
    with pytest.raises(CannotOffload, match="set it to false"):
        MasterAdamW(tiny_model(3), AdamSettings(0.9, 0.99, 0.0, 1.0, memory=memory))


def test_a_model_in_bf16_scores_as_the_network_in_bf16_does() -> None:
    """Rows that share a prompt against each rollout alone, in the same type."""
    recipe, model = tiny_recipe(memory=OPTIONS["bf16"]), tiny_model(3).to(torch.bfloat16)
    scorer = Scorer(model, 1.0, Site(), Scoring(memory=recipe.memory))
    (group,) = tiny_groups(tiny_model(3), 0, num_groups=1)
    trees = trees_of(group, group.rewards, 256)
    found = scorer(scorer.batch_of([(tree,) for tree in trees]))[0]
    alone = []
    for rollout in group.rollouts:
        ids = torch.tensor([group.prompt + rollout.tokens])
        hidden = model(ids, torch.arange(ids.shape[1]).unsqueeze(0), causal_attention)
        logprobs = model.logits(hidden)[0].log_softmax(-1)[len(group.prompt) - 1 : -1]
        alone.append(logprobs.gather(1, torch.tensor(rollout.tokens).unsqueeze(1)).squeeze(1))
    torch.testing.assert_close(found, torch.cat(alone), atol=0.15, rtol=0.02)


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from archipel.training.checkpoint import has_checkpoint
from archipel.training.trainer import Trainer
from training.test_memory_options import OPTIONS
from training.test_routing_is_replayed import expert_config, undecided
from training.tiny_learner import tiny_groups, tiny_model, tiny_recipe
folder = Path(sys.argv[2])
if has_checkpoint(folder):
    trainer = Trainer.restore(folder)
else:
    trainer = Trainer(tiny_model(3), tiny_recipe(memory=OPTIONS["all"]))
while trainer.version < 30:
    trainer.update(tiny_groups(tiny_model(3), trainer.version))
    trainer.save(folder)
"""


@pytest.mark.slow
def test_a_thrifty_run_killed_and_started_again_ends_bit_for_bit_as_one_never_stopped(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", RUN, str(Path(__file__).parents[1])]
    with subprocess.Popen([*command, str(tmp_path / "killed")]) as process:
        deadline = time.monotonic() + 120
        while not checkpoint_file(tmp_path / "killed", 5).exists():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    for folder in ("killed", "whole"):
        subprocess.run([*command, str(tmp_path / folder)], check=True, timeout=200)
    killed, whole = (
        checkpoint_file(tmp_path / each, 30).read_bytes() for each in ("killed", "whole")
    )
    assert killed == whole
