"""`archipel distil`: both ways from the command line, and every mistake before the first step."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from archipel.cli.archipel import command, run
from archipel.model.directory import read_model, write_model
from archipel.model.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer
from training.tiny_learner import tiny_model

RECIPE = """
[run]
name = "mine"
versions = 2
groups_per_update = 2
group_size = 2
[environment]
name = "secret_order"
parameters = { length = 3 }
[sampling]
max_new_tokens = 4
[supervised]
steps = 50
batch_size = 2
"""


def _model(path: Path, seed: int, tokenizer: Tokenizer | None = None, scale: float = 8.0) -> Path:
    tokenizer = tokenizer or character_tokenizer()
    sizes = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 40}
    model = tiny_model(seed, scale=scale, **sizes)
    write_model(path, model, model.config, tokenizer)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    (tmp_path / "mine.toml").write_text(RECIPE)
    # Nearly uniform, so that it ends some of its answers.
    small, large = _model(tmp_path / "small", 0), _model(tmp_path / "large", 5, scale=1.0)
    return [str(small), "--teacher", str(large), "--recipe", str(tmp_path / "mine.toml")]


@pytest.mark.parametrize(
    "more",
    [
        ("--way", "on-policy"),
        ("--way", "on-policy", "--hears", "samples"),
        ("--temperature", "1", "--steps", "3"),
    ],
)
def test_a_student_becomes_another_model_and_nothing_else_is_left(
    tmp_path: Path, pair: list[str], more: tuple[str, ...]
) -> None:
    words = ["distil", *pair, *more, "--out", str(tmp_path / "better"), "--json"]
    shown = CliRunner().invoke(command, words, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert told["steps"] == (3 if "--steps" in more else 2)
    assert told["tokens_written"] > 0
    before, after = (
        dict(read_model(tmp_path / each).named_parameters()) for each in ("small", "better")
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert {path.name for path in tmp_path.iterdir()} == {"small", "large", "better", "mine.toml"}


def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, pair: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = _model(tmp_path / "bytes", 1, byte_tokenizer())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    out = ["--out", str(tmp_path / "new")]
    for words, said in (
        ([pair[0], "--teacher", str(other), *pair[3:], *out], "different tokenizers (64 and 259 tokens"),
        ([*pair, "--out", str(tmp_path / "full")], "full is not empty"),
        ([*pair, *out, "--way", "on-policy", "--temperature", "0"], "temperature"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            run(["distil", *words])
        told = capsys.readouterr().err
        assert ended.value.code == 1
        assert said in told
        assert "Traceback" not in told
    assert not (tmp_path / "new").exists()
