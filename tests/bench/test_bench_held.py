"""What is said of weights in fewer bits is measured: nothing is lost of full ones, and guesses change no answer."""

import json
from pathlib import Path

import torch

from archipel.bench.held import Plan, measure, table
from archipel.model.directory import write_model
from archipel.model.tokenizer import character_tokenizer
from engine.engine_models import decoder_of, lively_state, small_config


def test_every_form_of_the_weights_has_its_figures(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = small_config(hidden_size=64, intermediate_size=96)
    network = decoder_of(config, lively_state(config))
    write_model(tmp_path, network, config, character_tokenizer(), dtype=torch.float32)
    plan = Plan(texts=2, new=8, batches=(1, 2), steps=2, rounds=2, passage=8)
    result = json.loads(json.dumps(measure(tmp_path, plan, lambda text: None)))
    held = result["held"]
    assert list(held) == ["float32", "bfloat16", "int8", "int4"]
    lost = [row["divergence"] for row in held.values()]
    assert 0 <= lost[0] < 1e-8
    assert lost[0] < lost[2] < lost[3]
    for row in held.values():
        assert len(row["step_ms_1"]) == len(row["step_ms_2"]) == 4
        assert row["steps_guessing"] <= row["steps"] == 8
    assert len(table(result).splitlines()) == 2 + 4 + 1
