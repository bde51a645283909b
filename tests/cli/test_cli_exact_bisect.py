"""`archipel exact trace` and `exact bisect`: two files, one number, one verdict."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from archipel.cli.archipel import run
from archipel.engine.exact.trace import BadQuestion, Question
from archipel.engine.exact.trace_files import (
    BadTrace,
    fields_of,
    question_from,
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
    code, out, err = command("bisect", files / "model", theirs, mine)
    assert (code, err.count("\n")) == (1, 1)
    assert "THEIRS is right" in out
    assert "position 6, layer 1 gate, number 17" in out


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
    for text, words in (
        ("[", "no JSON"),
        (json.dumps(fields | {"weights": "sha256:" + "0" * 64}), "holds sha256:"),
        (json.dumps(fields | {"contract": "exact-9"}), "computes"),
        (json.dumps(fields | {"tokens": []}), "expected both"),
        (" " * (2 << 20), "bytes"),
    ):
        path = tmp_path / "question.json"
        path.write_text(text)
        code, _, err = command("trace", files / "model", path, tmp_path / "out.safetensors")
        assert (code, err.count("\n")) == (1, 1)
        assert words in err
