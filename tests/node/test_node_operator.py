"""What an operator does: open a run from a model directory, and fetch a version that it signed for."""

import json
from pathlib import Path

import pytest

from agents import learning
from archipel.blobs import BlobStore
from archipel.model.tokenizer import character_tokenizer
from archipel.node.client import LabReader
from archipel.node.exchange import LabRefused
from archipel.node.failures import MAX_IN_A_ROW, Failures
from archipel.node.opening import Brought, InvalidModel, terms_and_pace, vocabulary_of
from archipel.node.operator import fetch_version, model_files, needed_files, open_run, stop_run
from archipel.node.patience import NodeFailed
from archipel.records.adapter import FILES as ADAPTER_FILES
from archipel.records.documents import Opening
from archipel.records.recipe import parse_recipe
from archipel.records.recipe_model import AdapterSection
from archipel.records.statements import NodeJoined
from archipel.records.terms import Vocabulary
from live import live
from people import envelope, identity
from specimens import CAPABILITIES
from world import World

RECIPE = parse_recipe(
    '[run]\nname = "real"\nversions = 3\ncheckpoint_every = 2\n[environment]\nname = "secret_order"\n'
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A model directory; its logits are wider than its tokenizer, as in many published models."""
    folder = tmp_path / "weights"
    folder.mkdir()
    character_tokenizer().write(folder)
    (folder / "config.json").write_text(json.dumps({"vocab_size": 128}))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "notes.md").write_bytes(b"stays at home")
    return folder


def test_a_vocabulary_is_as_wide_as_the_logits_and_ends_at_the_tokenizers_end(
    weights: Path,
) -> None:
    assert vocabulary_of(weights) == Vocabulary(128, (character_tokenizer().eos_id,))
    _, pace = terms_and_pace(RECIPE, weights)
    assert (pace.vocab_size, pace.stop_tokens) == (128, (character_tokenizer().eos_id,))


@pytest.mark.parametrize("config", [None, "{", "[]", "{}", '{"vocab_size": "many"}'])
def test_a_model_directory_that_lacks_something_says_what(
    weights: Path, config: str | None
) -> None:
    if config is None:
        (weights / "config.json").unlink()
    else:
        (weights / "config.json").write_text(config)
    with pytest.raises(InvalidModel, match="vocab_size"):
        vocabulary_of(weights)


def test_a_model_whose_end_token_it_cannot_sample_is_refused(weights: Path) -> None:
    (weights / "config.json").write_text('{"vocab_size": 2}')
    with pytest.raises(InvalidModel, match=r"end tokens \[2\]"):
        vocabulary_of(weights)


def test_a_model_without_a_tokenizer_is_refused(weights: Path) -> None:
    (weights / "tokenizer.json").unlink()
    with pytest.raises(InvalidModel, match=r"tokenizer\.json"):
        vocabulary_of(weights)


def test_a_run_is_opened_fetched_and_stopped_with_one_call_each(
    world: World, folder: Path, weights: Path
) -> None:
    trusted = (identity("learner").did,)

    async def story() -> None:
        async with live(world) as url:
            receipt = await open_run(url, world.operator, RECIPE, weights, trusted)
            assert receipt.index == world.lab.log.size - 1
            await joined(world)
            await learning(world)()
            store, support = BlobStore(folder / "export"), folder / "support"
            (link,) = await fetch_version(url, store, "real", None, support)
            assert link.version == 0
            assert link.anchor.read_bytes().startswith(b"weights 0")
            assert sorted(path.name for path in support.iterdir()) == [
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
            ]
            with pytest.raises(ValueError, match="versions 0 to 0, not 1"):
                await fetch_version(url, store, "real", 1, support)
            with pytest.raises(LabRefused):
                await open_run(url, identity("other"), RECIPE, weights, trusted)
            await stop_run(url, world.operator, "real", "enough")

    world.await_(story())
    opened = world.run("real").opened
    assert opened.recipe.digest == RECIPE.digest
    assert [file.name for file in opened.model] == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert world.run("real").phase.value == "stopped"


def test_a_version_is_fetched_only_if_the_labs_operator_opened_its_run(
    world: World, folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.started()
    read = LabReader.read

    async def altered(self: LabReader, kind: type, path: str, **options: object) -> object:
        document = await read(self, kind, path, **options)
        if isinstance(document, Opening):
            sealed = document.opening.replace(identity("operator").did, identity("other").did)
            return Opening(opening=sealed)
        return document

    monkeypatch.setattr(LabReader, "read", altered)

    async def story() -> None:
        async with live(world) as url:
            store = BlobStore(folder / "export")
            with pytest.raises(LabRefused, match="bad-opening"):
                await fetch_version(url, store, "run", None, folder / "support")

    world.await_(story())


async def joined(world: World) -> None:
    learner = world.learner(join=False)
    capabilities = CAPABILITIES.model_copy(update={"kinds": learner.kinds})
    statement = world.statement(learner.identity, NodeJoined, capabilities=capabilities)
    await world.lab.submit(envelope(learner.identity, statement))


def test_work_that_fails_never_ends_a_node_however_often(tmp_path: Path) -> None:
    failures = Failures(tmp_path / "child.log")
    for number in range(4 * MAX_IN_A_ROW):
        failures.failed("out of memory", f"run-{number % 2}")
        assert failures.in_a_row == min(number // 2 + 1, MAX_IN_A_ROW), "runs are counted apart"
    failures.succeeded("run-0")
    failures.failed("out of memory", "run-0")
    assert failures.in_a_row == 1


def test_a_machine_whose_work_process_never_starts_ends(tmp_path: Path) -> None:
    failures = Failures(tmp_path / "child.log")
    for _ in range(MAX_IN_A_ROW - 1):
        failures.failed("no such library")
    failures.failed("the child ended", "run")
    for _ in range(MAX_IN_A_ROW - 1):
        failures.failed("no such library")
    with pytest.raises(NodeFailed, match=r"start 5 times in a row .*no such library.*child\.log"):
        failures.failed("no such library")


def test_an_adapters_run_names_its_base_and_its_start_and_a_node_takes_the_base_alone(
    world: World, tmp_path: Path, weights: Path
) -> None:
    (adapter := tmp_path / "adapter").mkdir()
    for name in ADAPTER_FILES:
        (adapter / name).write_bytes(b"adapter")
        (weights / name).write_bytes(b"of somebody else")
    recipe = RECIPE.model_copy(update={"adapter": AdapterSection(rank=4)})
    trusted = identity("learner").did

    async def story() -> None:
        async with live(world) as url:
            for name, form, start in (("plain", RECIPE, None), ("over", recipe, adapter)):
                run = form.run.model_copy(update={"name": name})
                opened, files = form.model_copy(update={"run": run}), model_files(weights, start)
                brought = Brought(files)
                await open_run(url, world.operator, opened, weights, [trusted], brought)

    world.await_(story())
    plain, over = (world.run(name).opened for name in ("plain", "over"))
    assert not {file.name for file in plain.model} & set(ADAPTER_FILES)
    sent = {file.name: file.blob.size for file in over.model}
    assert [sent[name] for name in ADAPTER_FILES] == [len(b"adapter")] * 2
    assert over.pace.adapter == recipe.adapter.form
    assert needed_files(over, trusted=True) == set(sent)
    assert needed_files(over, trusted=False) == set(sent) - set(ADAPTER_FILES)
    assert "model.safetensors" not in needed_files(plain, trusted=False)
