"""Whoever guesses for a served model, its answers are the same, and what it cannot guess by is refused."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.cli.doors import Mendable
from archipel.engine.capacity import EngineLimits
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer
from archipel.serve.asked import Told
from archipel.serve.drafting import Draft, bytes_of
from archipel.serve.question import Question, Settings
from archipel.serve.served import How, serve_folder
from archipel.work.folders import folder_of
from serve.served_models import NOW, tiny_model

LIMITS = EngineLimits.serving(2**26)
ASKED = Question("tiny", Settings(max_new_tokens=48, temperature=0.0), text="abcabcabcabcabc")
DRAWN = replace(ASKED, settings=Settings(max_new_tokens=48, temperature=0.7, seed=3, choices=2))


def answers(path: Path, draft: Draft) -> tuple[list[list[Told]], int]:
    one = serve_folder(folder_of(path), How("tiny", limits=LIMITS, draft=draft), NOW)

    async def ask(question: Question) -> list[Told]:
        told = [each async for each in (await one.ask(question, "key", NOW)).told()]
        # Which of two choices is told of first hangs on who guesses; what of each, does not.
        return sorted(told, key=lambda each: each.choice)

    try:
        told = [asyncio.run(ask(question)) for question in (ASKED, DRAWN)]
        return told, one.counts()["tokens_guessed"]
    finally:
        one.desk.close()


def other_model(path: Path, tokenizer: Tokenizer, num_layers: int) -> Path:
    config = DecoderConfig(
        "llama", tokenizer.vocab_size, 32, num_layers, 2, 2, 16, 64, 512,
        bos_token_id=tokenizer.bos_id, eos_token_ids=tokenizer.stop_ids,
        pad_token_id=tokenizer.pad_id,
    )  # fmt: skip
    write_model(path, random_weights(config, 1), config, tokenizer)
    return path


@pytest.mark.slow
def test_answers_are_the_same_whoever_guesses(tmp_path: Path) -> None:
    small = tiny_model(tmp_path / "tiny")
    path = other_model(tmp_path / "large", byte_tokenizer(), 6)
    plain, never = answers(path, "none")
    looked, by_text = answers(path, "prompt")
    helped, by_small = answers(path, small)
    assert plain == looked == helped
    assert never == 0
    assert min(by_text, by_small) > 0
    assert answers(small, small)[1] == 0  # a guess would cost what it saves


def test_a_small_model_of_other_tokens_is_refused_and_its_memory_is_counted(tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "tiny")
    other = other_model(tmp_path / "other", character_tokenizer(), 1)
    with pytest.raises(InvalidModel, match="other tokens"):
        answers(path, other)
    assert bytes_of(path, "float32", LIMITS) > bytes_of("prompt", "float32", LIMITS) == 0
    said = CliRunner().invoke(command, ["serve", str(path), "--draft", "nonsense", "--port", "0"])
    assert isinstance(said.exception, Mendable)
    assert "expected none, prompt, or the directory" in str(said.exception)
