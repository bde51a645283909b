"""`archipel sft`: from nothing or from given weights, and every mistake before the first step."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from archipel.cli import telling
from archipel.cli.archipel import command, run
from archipel.model.directory import read_config

RECIPE = """
[run]
name = "mine"
versions = 1
[environment]
name = "secret_order"
parameters = { length = 3 }
[model]
hidden_size = {width}
num_layers = 1
num_heads = 2
num_kv_heads = 1
intermediate_size = 16
max_position_embeddings = 32
[supervised]
steps = 2
batch_size = 2
decay_steps = 1
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(RECIPE.replace("{width}", "16"))
    return file


def test_a_model_is_trained_and_then_trained_further(tmp_path: Path, recipe: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    wider = tmp_path / "wider.toml"
    wider.write_text(RECIPE.replace("{width}", "32"))
    for arguments in (
        [str(recipe), "--out", str(first), "--json"],
        [str(wider), "--out", str(second), "--weights", str(first), "--json"],
    ):
        shown = CliRunner().invoke(command, ["sft", *arguments], catch_exceptions=False)
        assert shown.exit_code == 0, shown.output
        assert json.loads(shown.stdout)["steps"] == 3
    assert read_config(second).hidden_size == 16, "the given model's, not the recipe's"
    assert {path.name for path in tmp_path.iterdir()} == {
        "first", "second", "mine.toml", "wider.toml"
    }  # fmt: skip


def test_progress_in_a_file_is_whole_lines(tmp_path: Path, recipe: Path) -> None:
    shown = CliRunner().invoke(command, ["sft", str(recipe), "--out", str(tmp_path / "m")])
    assert "\r" not in shown.output
    assert "step 1 loss" in shown.output.splitlines()[0]


@pytest.mark.parametrize("target", ["full", "file", "file/m"])
def test_an_output_that_cannot_be_written_ends_at_once_as_one_sentence(
    tmp_path: Path, recipe: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended:
        run(["sft", str(recipe), "--out", str(tmp_path / target)])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert str(tmp_path / target) in said
    assert "step" not in said
    assert "Traceback" not in said


def test_lines_in_a_file_come_soon_at_first_and_rarely_in_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(telling, "time", SimpleNamespace(monotonic=lambda: now[0]))
    on_step = telling.telling(lambda progress: f"{now[0]:.1f}")
    for tenth in range(2000):
        now[0] = tenth / 10
        on_step(None)
    told = [float(line) for line in capsys.readouterr().err.splitlines()]
    pauses = [after - before for before, after in pairwise(told)]
    assert told[0] == 0.0
    assert all(pause < 2.2 for pause in pauses[:4])
    assert 9.9 < max(pauses) < 10.2
    assert 25 < len(told) < 35
