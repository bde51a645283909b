"""Weights that are no numbers, learning that diverges, graders that are killed: one sentence, never a traceback."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from archipel.cli.archipel import run
from archipel.cli.toml import to_toml
from archipel.engine.exact.choice import Choice, write_choice
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.records.exact import CONTRACTS
from archipel.training.grading import MAX_CHILDREN_IN_VAIN, Grader
from archipel.training.grading_pipe import Child
from archipel.work.exact_check import read, state_of
from tiny import SECRET, tiny_recipe


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp("weights") / "start", character_tokenizer()
    config = DecoderConfig.from_section(tiny_recipe(1, 0).model, tokenizer)
    write_model(folder, random_weights(config, 0), config, tokenizer)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(to_toml(tiny_recipe(2, 0).model_dump(exclude_none=True)))
    return file


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(SECRET)
    file.chmod(0o600)
    return file


def spoilt(start: Path, folder: Path, value: float) -> Path:
    """The model with this value in one of its tensors."""
    shutil.copytree(start, folder)
    place = folder / "model.safetensors"
    state = load_file(place)
    state[min(state)].view(-1)[:] = torch.tensor(value)
    save_file(state, place, metadata={"format": "pt"})
    return folder


def ends(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence that the command ends in."""
    with pytest.raises(SystemExit) as ended:
        run([str(each) for each in arguments])
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 1
    assert "Traceback" not in said
    assert said.startswith("archipel: ")
    assert "\n" not in said
    return said


def test_sft_from_weights_that_are_no_numbers_says_which(
    start: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = spoilt(start, tmp_path / "nan", float("nan"))
    said = ends(capsys, "sft", recipe, "--out", tmp_path / "out", "--weights", model)
    assert "holds NaN or infinity" in said
    assert str(model) in said
    assert not (tmp_path / "out").exists()


def test_sft_that_diverges_says_what_to_do(
    start: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = spoilt(start, tmp_path / "large", 1e38)
    said = ends(capsys, "sft", recipe, "--out", tmp_path / "out", "--weights", model)
    assert "learning diverged: gradient norm is nan at optimiser step 0; lower" in said
    assert "supervised.learning_rate" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "value", [float("nan"), pytest.param(float("inf"), marks=pytest.mark.slow)]
)
def test_eval_and_chat_of_weights_that_give_no_numbers_say_so(
    start: Path,
    recipe: Path,
    secret: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    value: float,
) -> None:
    model = spoilt(start, tmp_path / "bad", value)
    more = ("--secret-file", secret, "--tasks", 2)
    for words in (
        ("eval", model, recipe, *more),
        ("eval", model, recipe, *more, "--samples", 2),
        ("chat", model, "--prompt", "ab="),
        ("chat", model, "--prompt", "ab=", "--temperature", 1),
    ):
        assert "check the weights" in ends(capsys, *words)


def killed(child: Child) -> None:
    os.kill(child._process.pid, signal.SIGKILL)
    child._process.wait()


def killing(monkeypatch: pytest.MonkeyPatch, times: int) -> Callable[[], int]:
    """The process that grades dies as it is asked, so often; how often it was asked."""
    ask, asked = Grader._ask, []

    def dying(grader: Grader, *arguments: object) -> None:
        asked.append(1)
        if len(asked) <= times:
            killed(grader._running())
        ask(grader, *arguments)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(Grader, "_ask", dying)
    return lambda: len(asked)


@pytest.mark.slow
def test_eval_whose_grader_is_killed_each_time_ends_with_a_sentence_and_no_score(
    start: Path,
    recipe: Path,
    secret: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("eval", start, recipe, "--secret-file", secret, "--tasks", 4)
    num_asked = killing(monkeypatch, 100)
    assert "none of 4 answers could be graded (crash: 4)" in ends(capsys, *words)
    assert (
        num_asked() == 2 * MAX_CHILDREN_IN_VAIN
    )  # the answers, and the commonest of them for every task


@pytest.mark.slow
def test_eval_whose_grader_is_killed_as_it_is_asked_goes_on_with_another(
    start: Path,
    recipe: Path,
    secret: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("eval", start, recipe, "--secret-file", secret, "--tasks", "4", "--json")
    expected = scores(words, capsys)
    num_asked = killing(monkeypatch, MAX_CHILDREN_IN_VAIN - 1)
    assert scores(words, capsys) == expected
    assert num_asked() == MAX_CHILDREN_IN_VAIN + 1


def test_eval_whose_grader_dies_as_it_starts_says_so(
    start: Path,
    recipe: Path,
    secret: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send = Child.send

    def dying(child: Child, data: bytes) -> None:
        send(child, data)
        killed(child)

    monkeypatch.setattr(Child, "send", dying)
    words = ("eval", start, recipe, "--secret-file", secret, "--tasks", 2)
    assert "the grading process did not start: crash" in ends(capsys, *words)


def test_eval_whose_grader_is_killed_between_two_gradings_goes_on_with_another(
    start: Path,
    recipe: Path,
    secret: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("eval", start, recipe, "--secret-file", secret, "--tasks", "4", "--json")
    expected = scores(words, capsys)
    judge = Grader._judge
    died = []

    def dying(grader: Grader, reply: dict[str, object]) -> float:
        if not died:
            died.append(killed(grader._running()))
        return judge(grader, reply)

    monkeypatch.setattr(Grader, "_judge", dying)
    assert scores(words, capsys) == expected
    assert died


def scores(words: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    with pytest.raises(SystemExit) as ended:
        run([str(each) for each in words])
    assert ended.value.code == 0
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.parametrize(
    "value", [float("nan"), pytest.param(float("inf"), marks=pytest.mark.slow)]
)
def test_exact_eval_of_weights_that_are_no_numbers_says_which(
    start: Path,
    recipe: Path,
    secret: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    value: float,
) -> None:
    model = spoilt(start, tmp_path / "bad", value)
    words = ("eval", model, recipe, "--secret-file", secret, "--tasks", 2, "--exact", "w7a8")
    assert "numbers" in ends(capsys, *words)


def test_eval_says_by_which_contract(
    start: Path, recipe: Path, secret: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--secret-file", secret, "--tasks", 2, "--json")
    for words, contract in (
        ((), None),
        (("--exact", "w7a8"), CONTRACTS["w7a8"]),
        (("--exact",), CONTRACTS["w13a15"]),
    ):
        with pytest.raises(SystemExit, match="0"):
            run([str(each) for each in ("eval", start, recipe, *more, *words)])
        assert json.loads(capsys.readouterr().out).get("exact") == contract


@pytest.mark.slow
def test_eval_answers_by_the_variant_that_was_named_or_chosen_for_these_weights(
    start: Path, recipe: Path, secret: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(start, model)
    state = state_of(read(model))
    contract = CONTRACTS["w7a15"]
    write_choice(model, Choice("w7a15", contract, 1e-3, "bf16", {}, "sha256:t", state))
    exact = tmp_path / "exact.toml"
    exact.write_text(to_toml(tiny_recipe(1, 0).by_variant("w7a8").model_dump(exclude_none=True)))
    more = ("--secret-file", secret, "--tasks", 2, "--json", "--exact")
    assert scores(("eval", model, recipe, *more), capsys)["exact"] == contract
    assert scores(("eval", model, exact, *more), capsys)["exact"] == CONTRACTS["w7a8"]
    (model / "exact.json").write_text((model / "exact.json").read_text().replace(state, "others"))
    assert scores(("eval", model, recipe, *more), capsys)["exact"] == CONTRACTS["w13a15"]
