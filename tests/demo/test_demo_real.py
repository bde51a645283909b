"""The demo with a real model: what it asks, shows and says, and that it goes on where it was. With a tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel import source_environment
from archipel.bench.real_tasks import TASKS, shots
from archipel.cli import demo_real
from archipel.cli.archipel import command
from archipel.cli.recipes import find_recipe
from archipel.demo.plan import RealPlan
from archipel.demo.real_ending import shown_examples, talk
from archipel.demo.real_story import RealPerformance, import_start, with_questions
from archipel.model.config import DecoderConfig
from archipel.model.dialogue import chat_ids
from archipel.model.directory import read_config, write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import Tokenizer, byte_tokenizer
from archipel.training.environments.environment import make_environment
from archipel.training.groups import prompt_ids

TEMPLATE = "{% for m in messages %}<bos>{{ m['role'] }}\n{{ m['content'] }}<eos>{% endfor %}"


def _tiny(path: Path) -> Path:
    tokenizer = byte_tokenizer().with_chat_template(TEMPLATE)
    config = DecoderConfig(
        "llama", tokenizer.vocab_size, 32, 1, 2, 2, 16, 64, 512, bos_token_id=tokenizer.bos_id,
        eos_token_ids=tokenizer.stop_ids, pad_token_id=tokenizer.pad_id,
    )  # fmt: skip
    write_model(path, random_weights(config, 1), config, tokenizer)
    return path


def _show(folder: Path) -> RealPerformance:
    plan = RealPlan(folder=folder / "demo", seed=5, model=_tiny(folder / "tiny"))
    return RealPerformance(plan, with_questions(find_recipe("real-sums"), plan))


def test_the_run_asks_the_plans_task_with_the_plans_seed(tmp_path: Path) -> None:
    show = _show(tmp_path)
    assert show.recipe.run.seed == 5
    environment = make_environment(show.recipe.environment, 5, None)
    asked = {environment.task(split, n).prompt for split in ("train", "dev", "test") for n in range(3000)}  # fmt: skip
    assert asked == {TASKS["sums"].question(a, b) for a, b in TASKS["sums"].pairs()}


def test_what_is_imported_once_is_not_imported_again(tmp_path: Path) -> None:
    show, told = _show(tmp_path), []
    import_start(show, told.append)
    assert read_config(show.start) == read_config(tmp_path / "tiny")
    assert told == []
    import_start(show, told.append)
    assert "going on" in told[0]


def test_the_form_control_is_the_same_model_that_sees_examples_first(tmp_path: Path) -> None:
    show = _show(tmp_path)
    import_start(show, lambda line: None)
    shown = shown_examples(show)
    assert shown_examples(show) == shown
    plain, told = Tokenizer.from_directory(show.start), Tokenizer.from_directory(shown)
    asked = {"role": "user", "content": "What is 1 + 2?"}
    wanted = chat_ids(plain, [*shots(TASKS["sums"]), asked])
    assert prompt_ids(told, asked["content"], show.recipe.prompt) == tuple(wanted)
    assert (shown / "model.safetensors").samefile(show.start / "model.safetensors")


def test_each_question_at_the_end_is_the_first_of_its_conversation(tmp_path: Path) -> None:
    show = _show(tmp_path)
    import_start(show, lambda line: None)
    show.trained.symlink_to(show.start)
    rows = talk(show, 2)
    assert [row["asked"].startswith("What is") for row in rows] == [True] * 3
    assert all(row["before"] == row["after"] for row in rows), "one and the same model"


def test_a_demo_that_was_begun_goes_on_as_it_was_asked_at_first(tmp_path: Path) -> None:
    asked = {"seed": None, "versions": 3, "controls": True, "quick": False}
    folder, first = demo_real._folder(tmp_path / "d", asked)
    assert demo_real._folder(folder, asked | {"versions": 9}) == (folder, first)
    assert first["versions"] == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(ValueError, match="not empty"):
        demo_real._folder(tmp_path / "other", asked)
    (tmp_path / "other" / "demo.json").write_text('{"x": 1}')
    with pytest.raises(ValueError, match="not of this demo"):
        demo_real._folder(tmp_path / "other", asked)


def test_options_of_the_real_demo_go_with_it_alone() -> None:
    for words in (["--quick"], ["--lora"], ["--model", "."], ["--real", "--exact"]):
        done = CliRunner().invoke(command, ["demo", *words])
        assert done.exit_code == 2, done.output
        assert "--real" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("trained", [[], ["--lora"]], ids=["whole", "lora"])
def test_the_whole_story_runs_with_any_chat_model_and_goes_on_after_an_end(
    tmp_path: Path, trained: list[str]
) -> None:
    words = [
        *(sys.executable, "-m", "archipel.cli.archipel", "demo", "--real", "--quick", "--json"),
        *trained,
        *("--model", str(_tiny(tmp_path / "tiny")), "--seed", "1", "--out", str(tmp_path / "d")),
    ]
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), **source_environment()}
    for _ in range(2):
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=280, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result["test"]) == {"before", "before, shown three examples", "before, given 96 tokens", "after RL", "RL with rewards by chance"}  # fmt: skip
    assert "going on" in done.stderr
    assert result["memory_bytes"]["update"][0][1] > 0
    assert len(result["rewards"]) == 4
    assert (tmp_path / "d" / "curve.png").is_file()
