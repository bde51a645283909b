"""Adapters of one base answer beside it and one another, each to its own name, as if each were alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from starlette.testclient import TestClient

from archipel.cli.archipel import command
from archipel.engine.quantised.arithmetic import quick_weights
from archipel.model.adapter import Adapter, adapter_shapes
from archipel.model.adapter_files import write_adapter
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_config
from archipel.model.manifest import Over
from archipel.records.recipe_model import AdapterSection
from archipel.serve.access import Access
from archipel.serve.door import make_door
from archipel.serve.served import How, Served, serve_folder, with_adapters
from archipel.work.bases import read_base
from archipel.work.folders import folder_of
from serve.served_models import NOW, served, tiny_model

TURN = [{"role": "user", "content": "hi"}]
FORM = AdapterSection(rank=2, alpha=16.0).form


def tiny_adapter(path: Path, base: Path, number: int) -> Path:
    generator = torch.Generator().manual_seed(number)
    state = {
        name: (torch.randn(shape, generator=generator) * 0.3).bfloat16()
        for name, shape in adapter_shapes(read_config(base), FORM).items()
    }
    digest = read_base(base).digest
    write_adapter(path, Adapter(FORM, state), Over(digest, FORM), str(base))
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("adapters")
    base = tiny_model(home / "tiny")
    made = {name: tiny_adapter(home / name, base, n) for n, name in enumerate(("law", "sea"))}
    return {"tiny": base} | made


@pytest.fixture(scope="module")
def together(folders: dict[str, Path]) -> Iterator[dict[str, Served]]:
    base = served(folders["tiny"])
    yield with_adapters(base, folders["tiny"], {name: folders[name] for name in ("law", "sea")})
    base.desk.close()


@pytest.fixture
def door(together: dict[str, Served]) -> TestClient:
    return TestClient(make_door(together, Access()), base_url="http://127.0.0.1:8450")


def said(door: TestClient, name: str) -> str:
    body = {"model": name, "messages": TURN, "max_tokens": 20, "temperature": 0}
    got = door.post("/v1/chat/completions", json=body)
    assert got.status_code == 200, got.text
    text: str = got.json()["choices"][0]["message"]["content"]
    return text


def test_each_name_is_answered_by_its_own_adapter_and_the_base_by_none(
    door: TestClient, folders: dict[str, Path]
) -> None:
    texts = {name: said(door, name) for name in ("tiny", "law", "sea")}
    assert len(set(texts.values())) == 3
    body = {"model": "tiny", "messages": TURN, "max_tokens": 1}
    mark = door.post("/v1/chat/completions", json=body).json()["system_fingerprint"]
    assert mark.endswith("-beside-adapters"), "they change how the base's rows are rounded"
    for name in ("law", "sea"):
        alone = serve_folder(folder_of(folders[name], folders["tiny"]), How(name), NOW)
        one = TestClient(make_door({name: alone}, Access()), base_url="http://127.0.0.1:8450")
        assert said(one, name) == texts[name]
        alone.desk.close()


def test_vectors_and_choices_are_the_adapters_too(door: TestClient) -> None:
    found, chances = [], []
    for name in ("tiny", "law", "sea"):
        got = door.post("/v1/embeddings", json={"model": name, "input": "abc"}).json()
        found.append(tuple(got["data"][0]["embedding"]))
        asked = {"model": name, "messages": TURN, "choices": ["a", "b"]}
        chances.append(door.post("/v1/classify", json=asked).json()["choices"][0]["probability"])
    assert len(set(found)) == len(set(chances)) == 3


def test_every_dialect_lists_and_shows_them(door: TestClient, folders: dict[str, Path]) -> None:
    names = ["tiny", "law", "sea"]
    assert [each["id"] for each in door.get("/v1/models").json()["data"]] == names
    for path in ("/api/tags", "/api/ps"):
        assert [each["name"] for each in door.get(path).json()["models"]] == names
    shown: dict[str, Any] = door.post("/api/show", json={"model": "law"}).json()
    assert shown["details"]["parent_model"] == "tiny"
    config = read_config(folders["tiny"])
    assert shown["details"]["family"] == config.family
    held = quick_weights(torch.device("cpu"))
    assert shown["details"]["quantization_level"] == {"float32": "F32", "bfloat16": "BF16"}[held]
    weights = json.loads((folders["tiny"] / "config.json").read_text())
    assert shown["model_info"][f"{config.family}.embedding_length"] == weights["hidden_size"]
    assert shown["model_info"]["general.parameter_count"] > 10_000
    assert {"completion", "tools", "embedding"} <= set(shown["capabilities"])
    listed = door.get("/api/tags").json()["models"]
    assert listed[0]["size"] > 10_000
    digests = [each["digest"] for each in listed]
    assert len(set(digests)) == 3
    assert digests[0] == read_base(folders["tiny"]).digest.removeprefix("sha256:")
    assert [each["digest"] for each in door.get("/api/ps").json()["models"]] == digests


def test_two_of_one_name_and_adapters_of_another_model_are_refused(
    together: dict[str, Served], folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InvalidModel, match="'tiny'"):
        with_adapters(together["tiny"], folders["tiny"], {"tiny": folders["law"]})
    other = tiny_model(tmp_path / "other", template=None)
    with pytest.raises(InvalidModel):
        with_adapters(together["tiny"], other, {"x": tmp_path})


@pytest.mark.parametrize("said", ["law", "=.", "law=", "law=/nowhere"])
def test_an_adapter_without_name_or_directory_is_refused_before_anything_is_served(
    folders: dict[str, Path], said: str
) -> None:
    words = ["serve", str(folders["tiny"]), "--port", "0", "--adapter", said]
    got = CliRunner().invoke(command, words)
    assert got.exit_code != 0
    assert "expected NAME=DIR" in str(got.exception)
