"""`archipel exact trace` and `exact bisect`: two files, one number, one verdict."""

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file

from archipel.cli.archipel import run
from archipel.engine.exact.trace import BadQuestion, Question
from archipel.engine.exact.trace_files import (
    MAX_QUESTION_BYTES,
    BadTrace,
    fields_of,
    question_from,
    read_question,
    read_trace,
    write_trace,
)
from archipel.engine.exact.variants import VARIANTS
from archipel.model.directory import write_model
from archipel.model.manifest import describe
from exact.exact_models import exact_engine, mixed_requests, sampled, world


def command(*arguments: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["exact", *map(str, arguments)])
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory, a question, and an honest trace."""
    folder = tmp_path_factory.mktemp("dispute")
    config, state = world("qwen3")
    write_model(folder / "model", state, config)
    (request,) = mixed_requests(config.vocab_size, (9,))
    (recorded,) = sampled(exact_engine(config, state, "w7a15"), [request])
    question = Question(
        VARIANTS["w7a15"].identity, describe(state, 0, None).state, request.prompt,
        recorded.rollouts[2].tokens, request.seed, 2, request.temperature,
    )  # fmt: skip
    (folder / "question.json").write_text(json.dumps(fields_of(question)))
    code, out, err = command(
        "trace", folder / "model", folder / "question.json", folder / "mine.safetensors", "--json"
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["tokens_equal"] is True
    return folder


def spoilt(files: Path, name: str, at: tuple[int, int]) -> Path:
    """Somebody else's trace, who has one other number."""
    mine = files / "mine.safetensors"
    tensors = load_file(mine)
    tensors[name][at] += 1
    with safe_open(mine, framework="numpy") as file:
        metadata = file.metadata()
    save_file(tensors, files / "theirs.safetensors", metadata=metadata)
    return files / "theirs.safetensors"


def test_two_traces_are_led_to_one_number(files: Path) -> None:
    mine = files / "mine.safetensors"
    code, out, _ = command("bisect", files / "model", mine, mine)
    assert code == 0
    assert out.startswith("equal")
    theirs = spoilt(files, "00022 layer 1 gate", (6, 17))
    kept = files / "dispute.json"
    code, out, err = command(
        "bisect", files / "model", mine, theirs, "--json", "--transcript", kept
    )
    told = json.loads(out)
    assert (code, err, told["right"]) == (0, "", "mine")
    assert (told["position"], told["step"], told["number"]) == (6, "layer 1 gate", 17)
    assert told["other_bytes"] < 1024
    assert len(json.loads(kept.read_text())["asks"]) == told["questions"]
    for key in ("other_bytes", "evidence_bytes", "digest_bytes"):
        assert told[key] > 0
    code, out, err = command("bisect", files / "model", theirs, mine)
    assert (code, err.count("\n")) == (1, 1)
    assert "THEIRS is right" in out
    assert "position 6, layer 1 gate, number 17" in out


def test_a_number_of_attention_is_led_to_a_small_step(files: Path) -> None:
    theirs, mine = spoilt(files, "00017 layer 1 mixed", (15, 9)), files / "mine.safetensors"
    code, out, _ = command("bisect", files / "model", mine, theirs, "--json")
    told = json.loads(out)
    assert (code, told["right"], told["within"]) == (0, "mine", ["result"])
    assert told["place"] == "position 15, layer 1 mixed, number 9, result"
    assert told["other_bytes"] + told["evidence_bytes"] < 1024


def test_a_trace_is_read_as_it_was_written_or_not_at_all(files: Path, tmp_path: Path) -> None:
    config = world("qwen3")[0]
    mine = files / "mine.safetensors"
    trace = read_trace(mine, config)
    write_trace(tmp_path / "again.safetensors", trace)
    again = read_trace(tmp_path / "again.safetensors", config)
    assert again.question == trace.question
    assert all(map(np.array_equal, again.values, trace.values))
    for other in (replace(config, num_layers=3), replace(config, intermediate_size=50)):
        with pytest.raises(BadTrace):
            read_trace(mine, other)
    (tmp_path / "no.safetensors").write_bytes(b"no")
    with pytest.raises(BadTrace, match="cannot be read"):
        read_trace(tmp_path / "no.safetensors", config)
    code, _, err = command("bisect", files / "model", mine, tmp_path / "no.safetensors")
    assert (code, err.count("\n")) == (1, 1)


def one_sentence(words: str, *arguments: str | Path) -> None:
    code, _, err = command(*arguments)
    assert (code, err.count("\n")) == (1, 1), err
    assert words in err


def test_a_trace_of_other_numbers_and_what_is_no_file_are_one_sentence(
    files: Path, tmp_path: Path
) -> None:
    mine, model = files / "mine.safetensors", files / "model"
    held = load_file(mine)
    with safe_open(mine, framework="numpy") as file:
        metadata = file.metadata()
    path = tmp_path / "theirs.safetensors"
    for kind, word in ((torch.bfloat16, "BF16"), (torch.float64, "F64"), (torch.int32, "I32")):
        other = {name: torch.from_numpy(each).to(kind) for name, each in held.items()}
        save_torch_file(other, path, metadata=metadata)
        one_sentence(f"holds {word}, expected F32", "bisect", model, mine, path)
    one_sentence("no plain file", "bisect", model, mine, "/dev/null")
    os.mkfifo(tmp_path / "pipe")
    one_sentence("no plain file", "bisect", model, tmp_path / "pipe", mine)
    one_sentence("no plain file", "trace", model, tmp_path / "pipe", path)
    too_long = tmp_path / ("x" * 300 + ".safetensors")
    one_sentence("too long", "trace", model, files / "question.json", too_long)
    whole = mine.read_bytes()
    for data in (b"", whole[:-1], whole[:8], b"\xff" * 8 + whole[8:], bytes(100)):
        path.write_bytes(data)
        one_sentence("cannot be read", "bisect", model, path, mine)


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38, -7.0])
def test_parties_that_agree_on_rubbish_are_judged_on_where_they_differ(
    files: Path, number: float
) -> None:
    mine = files / "mine.safetensors"
    held = {name: np.full_like(each, number) for name, each in load_file(mine).items()}
    with safe_open(mine, framework="numpy") as file:
        metadata = file.metadata()
    save_file(held, files / "rubbish.safetensors", metadata=metadata)
    for name in ("00003 layer 0 seen", "00017 layer 1 mixed", "00029 sample"):
        told = {**held, name: held[name].copy()}
        told[name][4, 1] = 5
        save_file(told, files / "theirs.safetensors", metadata=metadata)
        code, out, err = command(
            "bisect", files / "model", files / "rubbish.safetensors", files / "theirs.safetensors"
        )
        assert code in (0, 1)
        assert name[6:] in out
        assert err.count("\n") == code


def test_a_question_says_all_and_nothing_else(files: Path, tmp_path: Path) -> None:
    fields = json.loads((files / "question.json").read_text())
    assert fields_of(question_from(fields)) == fields
    for change in (
        {"more": 1}, {"seed": "x"}, {"seed": 1.5}, {"prompt": "ab"}, {"tokens": [1.0]},
        {"temperature": "1"}, {"rollout": True}, {"contract": 3},
    ):  # fmt: skip
        with pytest.raises(BadQuestion):
            question_from(fields | change)
    with pytest.raises(BadQuestion):
        question_from([])
    padded = tmp_path / "padded.json"
    padded.write_text(json.dumps(fields).ljust(MAX_QUESTION_BYTES))
    assert fields_of(read_question(padded)) == fields
    padded.write_text(json.dumps(fields).ljust(MAX_QUESTION_BYTES + 1))
    with pytest.raises(BadQuestion, match="more than"):
        read_question(padded)
    for text, words in (
        ("[", "no JSON"),
        (json.dumps(fields | {"weights": "sha256:" + "0" * 64}), "holds sha256:"),
        (json.dumps(fields | {"contract": "exact-9"}), "computes"),
        (json.dumps(fields | {"tokens": []}), "expected both"),
        (json.dumps(fields | {"tokens": [1] * 999}), "all but the last"),
        (json.dumps(fields | {"tokens": [-1, 64]}), "smallest token is -1; expected 0 to 63"),
        (json.dumps(fields | {"prompt": [64]}), "largest token is 64; expected 0 to 63"),
        (json.dumps(fields | {"seed": str(1 << 64)}), "seed is"),
        (json.dumps(fields | {"rollout": 1 << 32}), "rollout is"),
        (json.dumps(fields | {"temperature": float("nan")}), "temperature is nan"),
        (json.dumps(fields | {"temperature": 101}), "temperature is 101"),
        (json.dumps(fields | {"temperature": 10**400}), "beyond all numbers"),
        (" " * (2 << 20), "bytes"),
    ):
        path = tmp_path / "question.json"
        path.write_text(text)
        code, _, err = command("trace", files / "model", path, tmp_path / "out.safetensors")
        assert (code, err.count("\n")) == (1, 1)
        assert words in err
