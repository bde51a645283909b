"""Work of an adapter's run: it is followed over its own base alone, and every process makes the same of it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archipel.engine.engine import LocalEngine
from archipel.model.adapter import Adapter, adapter_shapes, merged
from archipel.model.adapter_files import write_adapter
from archipel.model.directory import read_model, write_model
from archipel.model.manifest import Manifest, Over, WrongTensors, describe
from archipel.model.versions import apply_delta, encode_anchor, encode_delta
from archipel.records.exact import CONTRACTS
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.prompts import pack_prompts
from archipel.records.recipe import Recipe
from archipel.records.recipe_model import AdapterSection
from archipel.records.requests import Request
from archipel.training.checkpoint import read_file
from archipel.training.start import initial_model
from archipel.work.bases import Bases, Ground, read_base
from archipel.work.engines import our_engine
from archipel.work.kind import Context, EngineChoice, WorkFailed
from archipel.work.kinds.rollout import Rollouts
from archipel.work.kinds.update import Updates
from archipel.work.messages import LinkMessage
from archipel.work.policies import Policies, Policy
from archipel.work.readiness import shortcomings
from archipel.work.seats import Seats, seated
from tiny import SECRET, tiny_recipe
from work import asked
from work.asked import NOTHING, TOKENIZER
from work.trusted import Trusted, recipe_of

torch.set_num_threads(1)
FORM = AdapterSection(rank=4, alpha=8.0).form


def adapting(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"adapter": AdapterSection(rank=4, alpha=8.0)})


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "model"
    model = initial_model(tiny_recipe(1, 0), TOKENIZER)
    write_model(folder, model, model.config, TOKENIZER)
    return folder


@pytest.fixture(scope="module")
def ground(start: Path) -> Ground:
    return Ground(read_base(start), FORM)


def numbers(ground: Ground, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = adapter_shapes(ground.base.config, ground.form)
    return {
        name: (torch.randn(shape, generator=generator) * 0.3).bfloat16()
        for name, shape in shapes.items()
    }


def policy(ground: Ground, seed: int, version: int = 0) -> Policy:
    state = numbers(ground, seed)
    over = Over(ground.base.digest, ground.form)
    return Policy(state, describe(state, version, None, over), ground)


def link(folder: Path, manifest: Manifest, state: dict[str, torch.Tensor]) -> LinkMessage:
    files = {"manifest": manifest.to_bytes(), "anchor": encode_anchor(state)}
    paths = {name: folder / f"{manifest.version}-{name}" for name in files}
    for name, data in files.items():
        paths[name].write_bytes(data)
    return LinkMessage(version=manifest.version, policy=manifest.state, delta=None, **paths)


def context(folder: Path, start: Path, recipe: Recipe, links: list[LinkMessage]) -> Context:
    return asked.context(recipe, start, folder, chain=tuple(links))


def test_a_version_follows_over_the_runs_first_weights(
    tmp_path: Path, start: Path, ground: Ground
) -> None:
    made = policy(ground, 1)
    links = [link(tmp_path, made.manifest, dict(made.state))]
    held = Policies().advance(
        context(tmp_path, start, adapting(tiny_recipe(1, 0)), links), made.manifest.state
    )
    assert held.adapter == Adapter(FORM, held.state)
    assert held.ground.base.digest == ground.base.digest
    assert all(torch.equal(tensor, held.state[name]) for name, tensor in made.state.items())


@pytest.mark.parametrize("lie", ["base", "form", "whole", "rank", "names", "more"])
def test_a_version_of_anything_else_is_refused_before_its_weights_are_decoded(
    tmp_path: Path, start: Path, ground: Ground, lie: str
) -> None:
    state, over = numbers(ground, 1), Over(ground.base.digest, FORM)
    first = next(iter(state))
    if lie == "base":
        over, told = replace(over, base="sha256:" + "0" * 64), "the run's first weights are sha256"
    elif lie == "form":
        over = replace(over, form=FORM.model_copy(update={"rank_stabilised": True}))
        told = "is rsLoRA of rank 4.* opened for LoRA of rank 4"
    elif lie == "whole":
        over, told = None, "is a whole model"
    elif lie == "rank":
        state[first], told = state[first][:2], "has shape"
    elif lie == "names":
        state["model.norm.weight"], told = state.pop(first), "is missing"
    else:
        state["model.norm.weight"], told = torch.zeros(2**16).bfloat16(), "is unknown"
    manifest = describe(state, 0, None, over)
    links = [link(tmp_path, manifest, state)]
    links[0].anchor.write_bytes(b"never looked at")
    with pytest.raises(WorkFailed, match=told):
        Policies().advance(
            context(tmp_path, start, adapting(tiny_recipe(1, 0)), links), manifest.state
        )


def test_a_run_of_whole_models_takes_no_adapter(
    tmp_path: Path, start: Path, ground: Ground
) -> None:
    made = policy(ground, 1)
    links = [link(tmp_path, made.manifest, dict(made.state))]
    with pytest.raises(WorkFailed, match="versions are whole models"):
        Policies().advance(context(tmp_path, start, tiny_recipe(1, 0), links), made.manifest.state)


def test_first_weights_that_are_none_are_the_works_fault(tmp_path: Path, ground: Ground) -> None:
    made, empty = policy(ground, 1), tmp_path / "empty"
    empty.mkdir()
    links = [link(tmp_path, made.manifest, dict(made.state))]
    with pytest.raises(WorkFailed, match="first weights of tiny"):
        Policies().advance(
            context(tmp_path, empty, adapting(tiny_recipe(1, 0)), links), made.manifest.state
        )


def test_the_digest_names_base_form_and_tensors_and_old_manifests_have_their_old_bytes(
    ground: Ground,
) -> None:
    made = policy(ground, 1)
    assert Manifest.from_bytes(made.manifest.to_bytes()) == made.manifest
    over = made.manifest.over
    others = [
        describe(made.state, 0, None),
        describe(made.state, 0, None, replace(over, base="sha256:" + "1" * 64)),
        describe(
            made.state, 0, None, replace(over, form=FORM.model_copy(update={"alpha_micro": 1}))
        ),
    ]
    assert len({each.state for each in (made.manifest, *others)}) == 4
    plain = describe({"w": torch.ones(2).bfloat16()}, 0, None)
    assert plain.state == "sha256:292d0bb946c3263cee5e30d21bea06499f0463a960a8cf4a363cf8158a7c06eb"
    assert b"adapter" not in plain.to_bytes()


def test_a_delta_leads_to_no_other_base(ground: Ground) -> None:
    one = policy(ground, 1)
    state, over = numbers(ground, 2), Over("sha256:" + "2" * 64, FORM)
    other = describe(state, 1, one.manifest.state, over)
    mine = describe(state, 1, one.manifest.state, one.manifest.over)
    data = encode_delta(one.state, state, one.manifest, mine)
    assert apply_delta(one.state, one.manifest, data, mine).keys() == state.keys()
    with pytest.raises(WrongTensors, match="is over sha256:2222"):
        encode_delta(one.state, state, one.manifest, other)


def test_runs_on_one_base_share_its_weights_and_its_engine_and_sample_as_each_alone(
    tmp_path: Path, start: Path, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    load = LocalEngine.load
    monkeypatch.setattr(
        LocalEngine, "load", lambda self, state: (loads.append(1), load(self, state))
    )
    runs, made = ("one", "two"), {}
    rollouts = Rollouts(EngineChoice())
    alone, together = {}, {}
    prompts = pack_prompts([(1, 5, 6, 7), (1, 9, 8, 7)], batch=0)
    for turn in range(2):
        for number, name in enumerate(runs):
            recipe = adapting(tiny_recipe(1, 0))
            run = recipe.run.model_copy(update={"name": name, "groups_per_update": 2})
            recipe = recipe.model_copy(update={"run": run})
            made[name] = policy(ground, 10 * turn + number, turn)
            folder = tmp_path / f"{name}-{turn}"
            folder.mkdir()
            (folder / "prompts").write_bytes(prompts)
            given = context(
                folder, start, recipe, [link(folder, made[name].manifest, dict(made[name].state))]
            )
            given = given.model_copy(update={"blobs": {NOTHING.digest: folder / "prompts"}})
            digest = made[name].manifest.state
            spec = RolloutSpec(
                run=name, version=turn, policy=digest, groups=(0, 1), prompts=(NOTHING,)
            )
            for seen, kind in ((together, rollouts), (alone, Rollouts(EngineChoice()))):
                answer = kind.run(spec, given, lambda tokens: None)
                seen[name, turn] = answer.files["rollouts"].read_bytes()
                assert answer.values["policy"] == digest
    assert together == alone
    assert len(set(together.values())) == 4
    assert len(loads) == 1 + 4, "the base was laid out once for both runs and all their versions"


def test_a_base_that_two_runs_have_is_held_once(tmp_path: Path, start: Path) -> None:
    copy = tmp_path / "copy"
    model = read_model(start)
    write_model(copy, model, model.config, TOKENIZER)
    bases, recipe = Bases(), adapting(tiny_recipe(1, 0))
    first, second = (bases.ground_of(context(tmp_path, each, recipe, [])) for each in (start, copy))
    assert first.base is second.base


def test_by_the_exact_contract_the_policy_is_the_merged_weights(
    start: Path, ground: Ground
) -> None:
    made, contract = policy(ground, 1), CONTRACTS["w13a15"]
    whole = our_engine(ground.base.config, contract)
    whole.load(merged(ground.base.state, made.adapter, ground.base.config))
    request = Request("g", (1, 5, 6), 3, 4, 6)
    adapted = seated(start, made, EngineChoice(), contract).generate([request])
    assert adapted == whole.generate([request])
    plain = our_engine(ground.base.config, contract)
    plain.load(ground.base.state)
    assert adapted != plain.generate([request])
    with pytest.raises(WorkFailed, match="not at hand"):
        replace(made, ground=None).whole()


def test_seats_keep_few_adapters(start: Path, ground: Ground, tmp_path: Path) -> None:
    seats = Seats(EngineChoice())
    for number in range(6):
        run = tiny_recipe(1, 0).run.model_copy(update={"name": f"run-{number}"})
        recipe = adapting(tiny_recipe(1, 0)).model_copy(update={"run": run})
        sampler = seats.take(context(tmp_path, start, recipe, []), policy(ground, number))
    assert len(sampler.engine._generation.adapters) == 4


@pytest.fixture
def kinds() -> Iterator[object]:
    made: list[Updates] = []

    def make() -> Updates:
        made.append(Updates())
        return made[-1]

    yield make
    for kind in made:
        kind.close()


def test_an_update_role_without_memory_continues_alike_from_checkpoint_and_results(
    tmp_path: Path, start: Path, kinds
) -> None:
    trusted = Trusted(tmp_path, start, adapting(recipe_of(2, versions=4)))
    kind = kinds()
    for _ in range(4):
        trusted.accept(trusted.ask(kind, "memory"))
    assert len(set(trusted.policies)) == 4
    saved = read_file(trusted.blobs[trusted.memory.blob.digest])
    assert all(".lora_" in name for name in saved.tensors)
    expected, other = trusted.ask(kind, "memory"), trusted.ask(kinds(), "new memory")
    assert other.values["policy"] == expected.values["policy"]
    for name in expected.files:
        assert other.files[name].read_bytes() == expected.files[name].read_bytes()
    manifest = Manifest.from_bytes(expected.files["manifest"].read_bytes())
    assert manifest.over == Over(read_base(start).digest, FORM)
    whole = sum(weight.numel() for weight in read_model(start).parameters()) * 2
    assert manifest.num_bytes < whole / 2


def test_what_stands_in_the_way_of_an_adapters_run_is_said_before_it_is_opened(
    tmp_path: Path, start: Path, ground: Ground
) -> None:
    whole, (mixed, given) = tiny_recipe(1, 0), (tmp_path / "mixed", tmp_path / "adapter")
    over = Over(ground.base.digest, FORM)
    write_adapter(given, Adapter(FORM, numbers(ground, 1)), over)
    other = whole.model_copy(update={"adapter": AdapterSection(rank=8)})
    shutil.copytree(start, mixed)
    for file in given.iterdir():
        shutil.copy(file, mixed)

    def faults(recipe: Recipe, weights: Path, adapter: Path | None) -> str:
        return "\n".join(shortcomings(recipe, weights, SECRET, 0.1, adapter))

    assert faults(adapting(whole), start, given) == faults(adapting(whole), start, None) == ""
    assert "give the recipe an [adapter]" in faults(whole, start, given)
    assert "make them alike" in faults(other, start, given)
    assert "directories of their own" in faults(adapting(whole), mixed, None)
    model = initial_model(
        whole.model_copy(update={"run": whole.run.model_copy(update={"seed": 1})}), TOKENIZER
    )
    write_model(tmp_path / "stranger", model, model.config, TOKENIZER)
    assert "use the model that it was trained on" in faults(
        adapting(whole), tmp_path / "stranger", given
    )
