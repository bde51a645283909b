"""Where a device's weights come from: its own directory or the gateway, and believed by their digest alone."""

import shutil
from pathlib import Path

import pytest
import torch

from archipel.blobs.store import BlobStore
from archipel.engine.engine import Request
from archipel.model.directory import write_model
from archipel.records.canonical import sha256_digest
from archipel.serve.pool import devices, stage
from archipel.serve.pool.weights import Copies, Original, names_of, raw
from engine.engine_models import lively_state, small_config
from serve.pool_world import World, alone, directory, run

SAID = {0: [Request("a", (1, 2, 3, 4, 5), 7, 2, 6)]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return directory(tmp_path_factory.mktemp("pool") / "model")


def test_layers_are_fetched_once_a_few_at_a_time_and_kept(model, tmp_path, monkeypatch) -> None:
    for end in (stage, devices):
        monkeypatch.setattr(end, "MAX_MISSING", 4)
    kept = BlobStore(tmp_path / "kept", is_lasting=False)
    world = World(model)
    try:
        world.join("without", 6, Copies(None, kept))
        assert run(world.engine, SAID) == run(alone(model), SAID)
        original = Original(model)
        wanted = original.digests((0, 6))
        assert all(kept.exists(digest) for digest in wanted.values())
        found, missing = Copies(None, kept).find(original.config, wanted)
        assert (len(found), missing) == (len(names_of(original.config, (0, 6))), ())
    finally:
        world.close()


def test_a_directory_with_other_weights_is_not_believed(model, tmp_path) -> None:
    config = small_config("llama", num_layers=6, max_position_embeddings=1024)
    other = tmp_path / "other"
    write_model(other, lively_state(config, seed=5), config)
    world = World(model)
    try:
        world.join("other", 6, Copies(other, BlobStore(tmp_path / "kept", is_lasting=False)))
        assert run(world.engine, SAID) == run(alone(model), SAID)
    finally:
        world.close()


def test_bytes_that_are_not_those_of_their_digest_are_refused(model, tmp_path) -> None:
    kept = BlobStore(tmp_path / "kept", is_lasting=False)
    copies, original = Copies(None, kept), Original(model)
    name, digest = next(iter(original.digests((0, 1)).items()))
    ((start, size, part),) = original.parts(name)
    copies.find(original.config, {name: digest})  # now it is missing
    with pytest.raises(ValueError, match="whose bytes are not those"):
        copies.take(digest, size, start, bytes(part)[:-1] + b"x")
    with pytest.raises(ValueError, match="expected 0"):
        copies.take(digest, size, 5, bytes(part)[5:])
    with pytest.raises(ValueError, match="keeps no weights"):
        Copies(None, None).take(digest, size, start, bytes(part))
    assert not kept.exists(digest)
    assert copies.take(digest, size, start, bytes(part))
    found, _ = copies.find(original.config, {name: digest})
    assert sha256_digest(raw(found[name])) == digest
    assert found[name].dtype == torch.bfloat16


def test_only_the_tensors_of_its_layers_are_read(model, tmp_path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    original = Original(copy)
    names = set(names_of(original.config, (2, 4)))
    assert len(names) == 2 * 9
    assert all(name.startswith(("model.layers.2.", "model.layers.3.")) for name in names)
    assert not any(name.startswith("model.layers.") for name in original.ends())


def test_a_weight_whose_link_was_lost_on_the_way_is_taken_from_its_beginning(
    model, tmp_path
) -> None:
    kept = BlobStore(tmp_path / "kept", is_lasting=False)
    copies, original = Copies(None, kept), Original(model)
    config, digests = original.config, original.digests((0, 1))
    name, digest = next(iter(digests.items()))
    ((_, size, part),) = original.parts(name)
    copies.find(config, digests)
    assert not copies.take(digest, size, 0, bytes(part)[: size // 2])
    copies.find(config, digests)  # another link asks again
    assert not copies.take(digest, size, 0, bytes(part)[:10])
    assert copies.take(digest, size, 10, bytes(part)[10:])
    assert kept.exists(digest)
