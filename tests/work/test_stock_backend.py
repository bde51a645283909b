"""Any causal model of transformers is sampled and trained as our own are, or refused by name."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from archipel.engine import transformers_engine
from archipel.engine.transformers_engine import TransformersEngine
from archipel.model import stock_config
from archipel.model.backends import backend_of
from archipel.model.config_files import InvalidModel
from archipel.model.stock import read_stock_model
from archipel.model.stock_config import read_stock_config
from archipel.records.recipe import Recipe, parse_recipe
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.recipe_learning import ReferenceSection
from archipel.records.requests import Request
from archipel.training.packing import Branch, Tree, plan
from archipel.training.scorer import Scorer
from archipel.training.sharding import Site
from archipel.work.agreement import FLOATS, compared, short_requests
from archipel.work.faults import failed
from archipel.work.folders import folder_of
from archipel.work.kind import EngineChoice, MachineUnfit, WorkFailed
from archipel.work.kinds import rollout as rollouts
from archipel.work.kinds.update import Updates
from archipel.work.readiness import shortcomings
from archipel.work.room import shape_of, update_need
from stock_models import FAMILIES, write_stock
from tiny import SECRET, tiny_recipe
from work.first_work import first_work
from work.trusted import Trusted

TEMPERATURE = 0.7


def stock_recipe(versions: int, staleness: int = 0, **model: object) -> Recipe:
    recipe = tiny_recipe(versions, staleness)
    section = recipe.model.model_copy(update={"backend": "transformers", **model})
    return recipe.model_copy(update={"model": section})


def ragged(vocabulary: int) -> list[Request]:
    return [
        Request(
            str(index),
            tuple((7 * index + 3 * place) % vocabulary for place in range(length)),
            index,
            num_rollouts=8,
            max_new_tokens=12,
            temperature=TEMPERATURE,
            stop_tokens=(2,),
        )
        for index, length in enumerate((5, 20, 11, 20))
    ]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock(tmp_path_factory.mktemp("stock") / "model", "gpt_neox")


QUICK = ("gpt_neox", "mamba")


@pytest.mark.parametrize(
    "family",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in FAMILIES],
)
def test_what_samples_a_foreign_family_is_what_learns_it(family: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    folder = write_stock(tmp_path / "model", family)
    decoder = read_stock_model(folder)
    engine = TransformersEngine(folder)
    engine.load({name: each.detach() for name, each in decoder.named_parameters()})
    scorer = Scorer(decoder, TEMPERATURE, Site())
    found = compared(engine, scorer, short_requests(ragged(64), 1))
    assert found.fault(FLOATS["float32"], TEMPERATURE) is None, str(found)
    assert found.num_tokens > 50


def edited(folder: Path, start: Path, **changed: Any) -> Path:
    """A copy of a directory with another config.json."""
    folder.mkdir(parents=True)
    for each in start.iterdir():
        (folder / each.name).write_bytes(each.read_bytes())
    config = json.loads((start / "config.json").read_text()) | changed
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_foreign_run_is_published_sampled_and_learned_from(start: Path, tmp_path: Path) -> None:
    near = ReferenceSection(coefficient=0.05)
    recipe = stock_recipe(3).model_copy(update={"reference": near})
    assert shortcomings(recipe, start, SECRET) == []
    spec, context = first_work(recipe, start, tmp_path)
    node = rollouts.make(EngineChoice())
    assert node.run(spec, context, lambda tokens: None).values["num_tokens"] > 0
    trusted, updates = Trusted(tmp_path / "role", start, recipe), Updates()
    trusted.folder.mkdir()
    for _ in range(3):
        trusted.accept(trusted.ask(updates, "memory"))
    updates.close()
    again = Updates()
    last = trusted.ask(again, "memory")
    assert last.values["policy"] not in trusted.policies
    again.close()
    forgetful = Updates()
    assert trusted.ask(forgetful, "new-memory").values["policy"] == last.values["policy"]
    forgetful.close()
    assert len(set(trusted.policies)) == 3


def without_cache(engine: TransformersEngine) -> None:
    """Each step sees the newest token alone, as a cache that is dropped would have it."""
    network = engine._network
    engine._next = (
        lambda tokens, cache: (  # type: ignore[method-assign]
            network(input_ids=tokens[:, -1:], use_cache=False).logits[:, -1],
            "gone",
        )
    )


def hotter(engine: TransformersEngine) -> None:
    """Ignores the temperature."""
    step = engine._next
    engine._next = lambda tokens, cache: (  # type: ignore[method-assign]
        (found := step(tokens, cache))[0] * TEMPERATURE,
        found[1],
    )


def rotated(engine: TransformersEngine) -> None:
    """Another base of the rotary embedding, as buffers that were filled by chance would give."""
    for name, buffer in engine._network.named_buffers():
        if name.endswith("inv_freq"):
            buffer.mul_(0.5)


@pytest.mark.parametrize(
    "mistake",
    [rotated, *(pytest.param(each, marks=pytest.mark.slow) for each in (without_cache, hotter))],
)
def test_no_run_opens_is_published_or_answered_where_sampling_goes_wrong(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Callable[..., None]
) -> None:
    recipe = stock_recipe(3)
    spec, context = first_work(recipe, start, tmp_path)
    plain = TransformersEngine.__init__

    def broken(engine: TransformersEngine, *given: Any, **named: Any) -> None:
        plain(engine, *given, **named)
        mistake(engine)

    monkeypatch.setattr(transformers_engine.TransformersEngine, "__init__", broken)
    (found,) = shortcomings(recipe, start, SECRET)
    assert "is not what the trainer learns from: over" in found
    (tmp_path / "role").mkdir()
    with pytest.raises(WorkFailed, match="is not what the trainer learns from: over"):
        Trusted(tmp_path / "role", start, recipe).ask(Updates(), "memory")
    with pytest.raises(MachineUnfit, match="engine transformers does not compute") as caught:
        rollouts.make(EngineChoice()).run(spec, context, lambda tokens: None)
    assert failed(caught.value).fault == "machine"


def test_rollouts_of_a_request_are_the_same_bits_whatever_is_sampled_beside_it(start: Path) -> None:
    engine = TransformersEngine(start)
    decoder = read_stock_model(start)
    engine.load({name: each.detach() for name, each in decoder.named_parameters()})
    requests = ragged(64)
    together = engine.generate(requests)
    assert [engine.generate([each])[0] for each in requests] == together
    assert engine.generate(requests[::-1])[::-1] == together


def test_a_rows_scores_do_not_see_what_stands_behind_it(start: Path) -> None:
    decoder = read_stock_model(start)
    row = torch.arange(3, 13).unsqueeze(0)
    padded = torch.cat((row, torch.full((1, 7), 9)), dim=1)
    columns = torch.arange(10)
    with torch.no_grad():
        apart = decoder.logits(row, columns) - decoder.logits(padded, columns)
    assert apart.abs().max() < 1e-5


def test_what_is_exported_or_talked_to_is_found_to_be_foreign(start: Path) -> None:
    assert backend_of(start) == folder_of(start).backend == "transformers"
    assert folder_of(start).seated(None, torch.float32).generate(ragged(64)[:1])
    with pytest.raises(InvalidModel, match="in floating point"):
        folder_of(start).seated("exact-1-w7a8-a3da035c00dc4692", torch.float32)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model_type": "no_such"}, "model_type is 'no_such', which neither"),
        ({"model_type": "no_such", "auto_map": {"x": "y"}}, "is never run"),
        ({"architectures": ["MineForCausalLM"]}, "architectures names 'MineForCausalLM', which"),
        ({"model_type": "vit"}, "not as a causal model"),
        ({"quantization_config": {"bits": 4}}, "quantised weights cannot be trained"),
        ({"transformers_weights": "../../x.bin"}, "alone; remove the key"),
        ({"num_hidden_layers": 10**9}, "the limit is 512"),
        ({"is_encoder_decoder": True}, "only causal models"),
        ({"vocab_size": "many"}, "cannot read it"),
        ({"num_attention_heads": 5}, "cannot read it"),
        ({"num_hidden_layers": 1}, "unexpected keys of gpt_neox, first"),
        ({"num_hidden_layers": 3}, "missing keys of gpt_neox, first"),
        ({"intermediate_size": 128}, "transformers cannot load it"),
    ],
)
def test_a_model_that_nobody_can_do_is_refused_by_name(
    start: Path, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    folder = edited(tmp_path / "model", start, **changed)
    (found,) = shortcomings(stock_recipe(2), folder, SECRET)
    assert words in found
    assert "\n" not in found


def test_pickles_are_refused_and_code_in_a_folder_is_not_run(start: Path, tmp_path: Path) -> None:
    folder = edited(tmp_path / "model", start, auto_map={"AutoModelForCausalLM": "mine.Mine"})
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    assert shortcomings(stock_recipe(2), folder, SECRET) == []
    assert not (tmp_path / "ran").exists()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (found,) = shortcomings(stock_recipe(2), folder, SECRET)
    assert "a pickle, which is never loaded" in found


def test_a_native_recipe_says_which_backend_may_do_it(start: Path) -> None:
    (found,) = shortcomings(tiny_recipe(2, 0), start, SECRET)
    assert 'model.backend = "transformers"' in found


def test_a_missing_library_is_one_sentence_wherever_it_is_missed(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, context = first_work(stock_recipe(2), start, tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    stock_config.stock_of.cache_clear()
    missing = r"needs an extra .*: pip install -c constraints.txt -e '\.\[transformers\]'"
    (found,) = shortcomings(stock_recipe(2), start, SECRET)
    assert re.search(missing, found)
    with pytest.raises(MachineUnfit, match=missing):
        rollouts.make(EngineChoice()).run(spec, context, lambda tokens: None)
    (tmp_path / "role").mkdir()
    with pytest.raises(MachineUnfit, match=missing):
        Trusted(tmp_path / "role", start, stock_recipe(2)).ask(Updates(), "memory")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[adapter]", "[adapter] is for the families"),
        ("[memory]\nrecompute_layers = true", "memory.recompute_layers"),
        ('[sampling]\nengine = "exact"', "exact"),
    ],
)
def test_what_a_foreign_run_cannot_be_is_refused_in_its_recipe(more: str, words: str) -> None:
    text = '[run]\nname = "x"\nversions = 1\n[environment]\nname = "secret_order"\nsecret = "s"\n'
    text += '[model]\nbackend = "transformers"\n'
    assert parse_recipe(text).model.backend == "transformers"
    assert b"backend" not in tiny_recipe(1, 0).canonical_bytes()
    with pytest.raises(InvalidRecipe) as caught:
        parse_recipe(text + more)
    assert words in str(caught.value)


def test_memory_is_weighed_by_counted_weights_and_by_logits_that_are_there_at_once(
    start: Path, tmp_path: Path
) -> None:
    config = read_stock_config(start)
    decoder = read_stock_model(start)
    assert shape_of(config).params == sum(each.numel() for each in decoder.parameters())
    wide = edited(tmp_path / "wide", start, vocab_size=150_000)
    recipe = stock_recipe(1)
    small, large = (update_need(recipe, read_stock_config(each)).peak for each in (start, wide))
    assert large - small > 150_000 * 4 * 2048


def test_rows_of_several_sequences_are_never_scored_by_a_network_of_others(start: Path) -> None:
    trees = [Tree((3, 4, 5), (Branch((6, 7, 2), (-1.0,) * 3, 1.0),)) for _ in range(2)]
    assert plan(trees, 1000, alone=True) == [[(trees[0],), (trees[1],)]]
    scorer = Scorer(read_stock_model(start), TEMPERATURE, Site())
    assert scorer.alone
    shared = Tree((3, 4, 5), (trees[0].branches[0], trees[1].branches[0]))
    for row in (tuple(trees), (shared,)):
        with pytest.raises(ValueError, match="see each other"):
            scorer(scorer.batch_of([row]))
