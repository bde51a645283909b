"""`archipel train remote`: Ctrl-C loses nothing, the key is no word of the command line, mistakes are one sentence."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from archipel.cli import train_remote
from archipel.cli.archipel import command
from archipel.cli.doors import Mendable
from archipel.cli.stopping import asked_to_stop
from archipel.door.hands import ServedModel
from archipel.model.tokenizer import byte_tokenizer
from archipel.records.adapter import FILES
from door_line import Through, door_with, line_to
from toy_hands import ToyHands

RANK = 4


class Publishing(ToyHands):
    """Knows bytes, and publishes both files of the layout."""

    def models(self) -> list[ServedModel]:
        return [replace(each, vocab_size=512) for each in super().models()]

    async def publish(self, model: str, folder: Path) -> None:
        await super().publish(model, folder)
        (folder / FILES[0]).write_text(json.dumps({"peft_type": "LORA", "r": RANK}))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Through, str]]:
    with door_with(Publishing(), tmp_path_factory.mktemp("door")) as found:
        yield found


@pytest.fixture
def place(
    tmp_path: Path, door: tuple[Through, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with examples, a tokenizer and the way to the door."""
    for name in (*train_remote.ADDRESSES, *train_remote.KEYS):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "model").mkdir()
    byte_tokenizer().write(tmp_path / "model")
    rows = ({"prompt": f"{n}+1=", "completion": f"{n + 1}"} for n in range(8))
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr("archipel.door.client.line.Line", lambda url, key: line_to(door[0], key))
    yield tmp_path
    door[0].around = lambda request, go_on: go_on(request)


def trained(place: Path, out: str, *more: str) -> Result:
    words = ["train", "remote", str(place / "data.jsonl"), "--out", str(place / out)]
    settings = ["--tokenizer", str(place / "model"), "--rank", str(RANK), "--batch", "2", "--json"]
    return CliRunner().invoke(
        command, [*words, *settings, "--steps", "4", "--held-out", "1", *more]
    )


def test_ctrl_c_keeps_what_was_learned_and_the_same_command_goes_on(
    place: Path, door: tuple[Through, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_DOOR", "http://door.test")
    monkeypatch.setenv("TINKER_API_KEY", door[1])
    whole = trained(place, "whole")
    assert whole.exit_code == 0, whole.output
    num_steps = 0

    def pressed(request: httpx.Request, go_on: object) -> httpx.Response:
        nonlocal num_steps
        num_steps += request.url.path.endswith("optim_step")
        if num_steps == 2:
            num_steps += 1
            signal.raise_signal(signal.SIGINT)
        return go_on(request)  # type: ignore[operator, no-any-return]

    door[0].around = pressed
    cut = trained(place, "cut")
    assert cut.exit_code == train_remote.INTERRUPTED
    assert "stopped after step 2 of 4; the same command goes on" in cut.stderr
    again = trained(place, "cut")
    assert again.exit_code == 0, again.output
    assert "goes on from step 2 of 4" in again.stderr
    told = [json.loads(each.stdout) for each in (whole, again)]
    for name in ("loss", "held_out_loss_before", "held_out_loss_after", "tokens", "steps"):
        assert told[0][name] == told[1][name], name
    adapters = [(place / name / FILES[1]).read_bytes() for name in ("whole", "cut")]
    assert adapters[0] == adapters[1]
    assert not (place / "cut.partial").exists()
    taken = trained(place, "cut")
    assert isinstance(taken.exception, Mendable)
    assert "not empty" in str(taken.exception)


def test_a_second_ctrl_c_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with asked_to_stop() as is_stopping:
        assert not is_stopping()
        signal.raise_signal(signal.SIGINT)
        assert is_stopping()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_missing_is_said(place: Path, door: tuple[Through, str]) -> None:
    def why(*more: str) -> str:
        return str(trained(place, "out", *more).exception)

    assert "give --door" in why()
    there = ("--door", "http://door.test")
    assert "give --key-file" in why(*there)
    key = place / "key"
    key.write_text(door[1])
    key.chmod(0o644)
    assert "chmod 600" in why(*there, "--key-file", str(key))
    key.chmod(0o600)
    own = (*there, "--key-file", str(key))
    assert "it has toy/base" in why(*own, "--model", "other")
    assert "leaves nothing to learn" in why(*own, "--held-out", "8")
    assert "no API key" not in why(*own, "--tokenizer", str(place))
    key.write_text("tml-000000000000-" + "0" * 64)
    assert "key" in why(*own)
    assert not (place / "out").exists()


def test_the_key_is_no_option() -> None:
    shown = CliRunner().invoke(command, ["train", "remote", "--help"]).output
    assert "--key-file" in shown
    assert "--key " not in shown
