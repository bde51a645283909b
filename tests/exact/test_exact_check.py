"""Figures of an arithmetic are those of its distributions, and a model gets the cheapest variant that they allow."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.engine.exact.choice import (
    BadChoice,
    Choice,
    NotCloseEnough,
    carry_choice,
    choose,
    read_choice,
    write_choice,
)
from archipel.engine.exact.forcing import Line
from archipel.engine.exact.scoring import Figures, compare
from archipel.engine.exact.variants import VARIANTS
from archipel.model.directory import write_model
from archipel.model.manifest import describe
from archipel.model.network import Decoder, causal_attention
from archipel.model.tokenizer import byte_tokenizer, character_tokenizer
from archipel.work import calibration
from engine.engine_models import decoder_of, lively_state, small_config


def figures(kl: float) -> Figures:
    return Figures(10, kl, math.nan, kl, kl, 1.0, 1.0)


def test_figures_are_those_of_the_network_s_own_distributions() -> None:
    config = small_config("llama")
    state = lively_state(config)
    texts = [Line(0, (1,), (5, 3, 8, 2, 9)), Line(1, (4, 4, 2), (7, 1))]
    found = compare(config, state, texts, ["bf16", "w7a8", "w13a15"])
    model: Decoder = decoder_of(config, state)
    loss = []
    for text in texts:
        tokens = torch.tensor([text.prompt + text.tokens])
        places = torch.arange(tokens.shape[1])[None]
        with torch.no_grad():
            logits = model.logits(model(tokens, places, causal_attention))[0]
        chances = logits.double().log_softmax(-1)[len(text.prompt) - 1 : -1]
        loss += [-float(chances[i, token]) for i, token in enumerate(text.tokens)]
    assert found["fp32"].loss == pytest.approx(sum(loss) / len(loss), rel=1e-5)
    assert (found["fp32"].kl, found["fp32"].agreement, found["fp32"].positions) == (0, 1, 7)
    assert 0 < found["w13a15"].kl < found["w7a8"].kl <= found["w7a8"].kl_largest
    assert found["w13a15"].kl < found["bf16"].kl


def test_the_cheapest_variant_within_the_bound_is_chosen() -> None:
    measured = {"fp32": figures(0), "bf16": figures(1e-3)}
    measured |= {"w7a8": figures(2e-3), "w7a15": figures(9e-4), "w13a15": figures(1e-5)}
    assert choose(measured, None) == ("w7a15", 1e-3, "bf16")
    assert choose(measured, 1e-2) == ("w7a8", 1e-2, "given")
    with pytest.raises(NotCloseEnough, match=r"w13a15, is at 1\.00e-05.*--bound"):
        choose(measured, 1e-6)


def a_choice(state: str) -> Choice:
    known = dataclasses.replace(figures(1e-4), kl_error=0.0)  # NaN is not equal to itself
    identity = VARIANTS["w7a8"].identity
    return Choice("w7a8", identity, 1e-3, "bf16", {"w7a8": known}, "sha256:t", state)


def test_a_choice_is_read_only_for_its_weights_and_contract(tmp_path: Path) -> None:
    whole = a_choice("sha256:s")
    write_choice(tmp_path, whole)
    assert read_choice(tmp_path, "sha256:s") == whole
    with pytest.raises(BadChoice, match="speaks of weights"):
        read_choice(tmp_path, "sha256:other")
    write_choice(tmp_path, dataclasses.replace(whole, identity=VARIANTS["w7a15"].identity))
    with pytest.raises(BadChoice, match="speaks of contract"):
        read_choice(tmp_path, "sha256:s")
    for text in ("{}", "[]", "no", '{"format": "archipel/exact-choice/1", "variant": "w7a8"}'):
        (tmp_path / "exact.json").write_text(text)
        with pytest.raises(BadChoice, match="archipel exact check"):
            read_choice(tmp_path, "sha256:s")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("variant", ["w7a8"]), ("variant", "w8a8"), ("state", 5), ("identity", None), ("bound", "x"),
        ("figures", [1]), ("figures", {"w7a8": {"kl": 1}}), ("layers", {}), ("measured_on", 5),
    ],
)  # fmt: skip
def test_a_choice_with_a_field_of_another_kind_is_none(
    tmp_path: Path, field: str, value: object
) -> None:
    path = write_choice(tmp_path, a_choice("sha256:s"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(BadChoice, match=r"exact\.json: .*archipel exact check"):
        read_choice(tmp_path, "sha256:s")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
@pytest.mark.parametrize("place", ['"bound": 0.001', '"kl": 0.0001'])
def test_a_choice_with_a_number_that_json_does_not_have_is_none_and_goes_nowhere(
    tmp_path: Path, place: str, number: str
) -> None:
    path = write_choice(tmp_path, a_choice("sha256:s"))
    said = path.read_text()
    assert place in said
    path.write_text(said.replace(place, place.split(": ")[0] + ": " + number))
    with pytest.raises(BadChoice, match=r"exact\.json: .* expected a finite number"):
        read_choice(tmp_path, "sha256:s")
    with pytest.raises(BadChoice, match="finite"):
        carry_choice(tmp_path, tmp_path, "sha256:later")


def test_a_choice_goes_on_with_later_weights_and_names_those_that_were_measured(
    tmp_path: Path,
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for folder in (first, second, third):
        folder.mkdir()
    assert carry_choice(first, second, "sha256:s") is None
    assert not list(second.iterdir())
    whole = a_choice("sha256:s")
    write_choice(first, whole)
    carry_choice(first, second, "sha256:s")
    assert read_choice(second, "sha256:s") == whole
    carry_choice(second, third, "sha256:later")
    later = read_choice(third, "sha256:later")
    assert later == dataclasses.replace(whole, state="sha256:later", measured_on="sha256:s")
    carry_choice(third, second, "sha256:last")
    assert read_choice(second, "sha256:last").measured_on == "sha256:s"


def test_texts_are_windows_and_completions_alone_are_scored(tmp_path: Path) -> None:
    config, tokenizer = small_config("llama", vocab_size=259), byte_tokenizer()
    shipped = calibration.lines_of_text(calibration.shipped_text(), tokenizer, config, 3)
    size = min(calibration.WINDOW, config.max_position_embeddings)
    assert [len(line.prompt + line.tokens) for line in shipped] == [size] * 3
    file = tmp_path / "some.jsonl"
    file.write_text('{"prompt": "ab", "completion": "cde"}\n\n{"text": "xyz"}\n')
    found = calibration.lines_of_file(file, tokenizer, config, 9)
    assert [(len(line.prompt), len(line.tokens)) for line in found] == [(2, 3), (1, 2)]
    assert calibration.digest_of(found) != calibration.digest_of(found[:1])
    file.write_text('{"prompt": 3}\n')
    with pytest.raises(calibration.NothingToMeasure, match="line 1"):
        calibration.lines_of_file(file, tokenizer, config, 9)


def test_the_command_says_writes_and_refuses(tmp_path: Path) -> None:
    config = small_config("llama", vocab_size=259)
    state = lively_state(config)
    model = tmp_path / "model"
    write_model(model, state, config, byte_tokenizer())
    arguments = ["exact", "check", str(model), "--windows", "2", "--variant", "w13a15"]
    done = CliRunner().invoke(command, [*arguments, "--write", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["variant"] == "w13a15"
    kept = {name: weight.bfloat16() for name, weight in state.items()}
    known = read_choice(model, describe(kept, 0, None).state)
    assert (known.variant, known.measured_on) == ("w13a15", None)
    refused = CliRunner().invoke(command, [*arguments, "--bound", "0"])
    assert "no variant is within" in str(refused.exception) + refused.output
    assert refused.exit_code != 0
    again = CliRunner().invoke(command, [*arguments, "--json"])
    assert (json.loads(again.stdout), "measured before" in again.stderr) == (told, True)
    path = write_choice(model, dataclasses.replace(known, measured_on="sha256:earlier"))
    carried = CliRunner().invoke(command, [*arguments, "--json"])
    assert (carried.exit_code, "measured before" in carried.stderr) == (0, False)
    path.write_text(json.dumps({"format": "archipel/exact-choice/1"} | told))
    for more in (("--again",), ("--windows", "3"), ("--variant", "w7a8")):
        anew = CliRunner().invoke(command, [*arguments, *more, "--json"])
        assert anew.exit_code == 0
        assert "measured before" not in anew.stderr
    unknown = CliRunner().invoke(command, ["exact", "check", str(model), "--variant", "w8a8"])
    assert "expected one of w7a8" in str(unknown.exception) + unknown.output


def test_a_text_that_the_vocabulary_cannot_say_is_refused_with_a_sentence(tmp_path: Path) -> None:
    config = small_config("llama", vocab_size=64)
    write_model(tmp_path / "model", lively_state(config), config, character_tokenizer())
    done = CliRunner().invoke(command, ["exact", "check", str(tmp_path / "model")])
    assert "cannot encode" in str(done.exception) + done.output
