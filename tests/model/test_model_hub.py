"""A model comes from a hub whole and verified, with only the files that are needed, or is refused by name."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.model import hub as hub_module
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import read_model, write_model
from archipel.model.hub import NotFetched, fetch_from_hub
from archipel.model.network import random_weights
from archipel.model.tokenizer import byte_tokenizer
from hub_server import COMMIT, Hub, serving

pytest.importorskip("huggingface_hub", reason="needs the huggingface_hub library, an extra")
NAME = "hf:someone/small@main"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, no cache of this user's, and the library may ask."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    for name in ("HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


def _files(folder: Path, shard_bytes: int = 10**9) -> dict[str, bytes]:
    tokenizer = byte_tokenizer().with_chat_template("{{ messages[0]['content'] }}")
    config = DecoderConfig("qwen3", tokenizer.vocab_size, 16, 1, 2, 1, 8, 32, 32)
    model = random_weights(config, 5)
    write_model(folder, model, config, tokenizer, dtype=torch.float32, shard_bytes=shard_bytes)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | {
        "LICENSE": b"Apache License",
        "README.md": b"# card",
        "pytorch_model.bin": b"a pickle",
        "onnx/model.onnx": b"another form",
        "model.gguf": b"GGUF",
    }


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(_files(tmp_path / "made"))) as served:
        yield served


def _quiet(_: str) -> None:
    pass


def test_a_model_is_fetched_whole_and_only_what_is_needed_of_it(hub: Hub, tmp_path: Path) -> None:
    said: list[str] = []
    done = fetch_from_hub(NAME, tmp_path / "out", said.append, hub.url)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == hub.files.keys() - {"README.md", "pytorch_model.bin", "onnx/model.onnx", "model.gguf"}  # fmt: skip
    assert all((tmp_path / "out" / name).read_bytes() == hub.files[name] for name in names)
    assert (done.commit, done.licence) == (COMMIT, "apache-2.0")
    assert done.sha256.keys() == names
    assert done.num_bytes == sum(len(hub.files[name]) for name in names)
    assert "licence apache-2.0" in said[0]
    read_model(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_of_weights_in_parts_the_index_says_which(tmp_path: Path) -> None:
    files = _files(tmp_path / "made", 3000) | {"consolidated.safetensors": b"the same once more"}
    with serving(Hub(files)) as hub:
        fetch_from_hub(NAME, tmp_path / "out", _quiet, hub.url)
    assert (tmp_path / "out" / "model-00002-of-00002.safetensors").is_file() or len(
        list((tmp_path / "out").glob("model-0*"))
    ) > 2
    assert not (tmp_path / "out" / "consolidated.safetensors").exists()
    read_model(tmp_path / "out")


def test_what_was_fetched_before_an_interruption_is_not_fetched_again(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.file_download as file_download

    def ctrl_c(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(file_download.constants, "DOWNLOAD_CHUNK_SIZE", 512)
    weights = "model.safetensors"
    hub.break_at[weights] = 4096
    with monkeypatch.context() as patched:
        patched.setattr(file_download.time, "sleep", ctrl_c)  # between two tries of the library
        with pytest.raises(KeyboardInterrupt):
            fetch_from_hub(NAME, tmp_path / "out", _quiet, hub.url)
    assert not (tmp_path / "out").exists()
    first = list(hub.asked)
    hub.asked.clear()
    fetch_from_hub(NAME, tmp_path / "out", _quiet, hub.url)
    again = [(name, asked) for method, name, asked in hub.asked if method == "GET"]
    assert [name for name, _ in again] == [weights], "small files are there already"
    (_, asked) = again[0]
    assert asked == "bytes=4096-", "it goes on behind what came"
    assert ("GET", "config.json", "") in first
    assert (tmp_path / "out" / weights).read_bytes() == hub.files[weights]


def test_other_bytes_than_the_hub_names_are_refused(hub: Hub, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "model.safetensors"):
        data = bytearray(hub.files[name])
        data[-3] ^= 1 if name.startswith("model") else 0
        hub.lie = {name: bytes(data) if name.startswith("model") else bytes(data) + b"\n"}
        with pytest.raises(NotFetched, match=f"{name}|size"):
            fetch_from_hub(NAME, tmp_path / name, _quiet, hub.url)
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("file", "content", "error", "named"),
    [
        ("config.json", b'{"model_type": "mamba"}', InvalidModel, "mamba"),
        ("config.json", None, NotFetched, r"no config\.json"),
        ("tokenizer.json", None, NotFetched, r"no tokenizer\.json"),
        ("model.safetensors", None, NotFetched, "only safetensors"),
    ],
)
def test_what_cannot_be_used_is_refused_before_its_weights_come(
    hub: Hub, tmp_path: Path, file: str, content: bytes | None, error: type[Exception], named: str
) -> None:
    if content is None:
        del hub.files[file]
    else:
        hub.files[file] = content
    with pytest.raises(error, match=named):
        fetch_from_hub(NAME, tmp_path / "out", _quiet, hub.url)
    assert not any(name.endswith("safetensors") for _, name, _ in hub.asked)
    assert not (tmp_path / "out").exists()


def test_an_index_leads_nowhere_else(tmp_path: Path) -> None:
    files = _files(tmp_path / "made", 3000)
    index = json.loads(files["model.safetensors.index.json"])
    index["weight_map"]["model.norm.weight"] = "../../key.safetensors"
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    with serving(Hub(files)) as hub, pytest.raises(InvalidModel, match="plain"):
        fetch_from_hub(NAME, tmp_path / "out", _quiet, hub.url)


def test_a_full_disk_is_said_before_anything_large_comes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "SPARE_BYTES", 10**18)
    with pytest.raises(NotFetched, match="make room"):
        fetch_from_hub(NAME, tmp_path / "out", _quiet, hub.url)
    assert not any(name.endswith("safetensors") for _, name, _ in hub.asked)


@pytest.mark.parametrize("name", ["hf:small", "hf:a/b/c", "hf:../x", "hf:a/b@", "someone/small"])
def test_a_name_is_an_organisation_and_a_model(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="expected hf:ORG/NAME"):
        fetch_from_hub(name, tmp_path / "out", _quiet, "http://127.0.0.1:9")


def test_a_model_that_is_not_there_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="someone/else"):
        fetch_from_hub("hf:someone/else", tmp_path / "out", _quiet, hub.url)


def test_the_command_shows_licence_and_digests(hub: Hub, tmp_path: Path) -> None:
    words = ["model", "fetch", NAME, "--out", str(tmp_path / "out"), "--endpoint", hub.url]
    done = CliRunner().invoke(command, [*words, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["licence"], said["commit"], said["repository"]) == ("apache-2.0", COMMIT, "someone/small")  # fmt: skip
    again = CliRunner().invoke(command, words)
    assert again.exit_code != 0
    assert "not empty" in str(again.exception or again.output)
    unknown = CliRunner().invoke(command, ["model", "fetch", "gpt-9", "--out", str(tmp_path / "x")])
    assert "smollm2-135m-instruct" in str(unknown.exception or unknown.output)
