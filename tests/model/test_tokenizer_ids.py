"""Ids of a tokenizer's file are looked at before the library, which ends the process over a table that is too long."""

import json
from pathlib import Path

import pytest

from archipel.model.directory import write_model
from archipel.model.tokenizer import Tokenizer, byte_tokenizer
from archipel.model.tokenizer_files import MAX_TOKEN_ID, InvalidTokenizer
from engine.engine_models import lively_state, small_config


@pytest.mark.parametrize("place", ["vocabulary", "added"])
@pytest.mark.parametrize("number", [4_000_000_000, MAX_TOKEN_ID + 1, 10**30])
def test_an_id_that_no_table_reaches_is_refused(tmp_path: Path, place: str, number: int) -> None:
    folder = tmp_path / "model"
    config = small_config()
    write_model(folder, lively_state(config), config, byte_tokenizer())
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text("utf-8"))
    if place == "vocabulary":
        told["model"]["vocab"]["far"] = number
    else:
        told["added_tokens"].append({**told["added_tokens"][0], "content": "far", "id": number})
    file.write_text(json.dumps(told), "utf-8")
    with pytest.raises(InvalidTokenizer, match=r"a token has id \d+; expected at most 16777216"):
        Tokenizer.from_directory(folder)


def test_a_long_number_elsewhere_is_nobodys_id(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    config = small_config()
    write_model(folder, lively_state(config), config, byte_tokenizer())
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text("utf-8"))
    told["truncation"] = {
        "direction": "Right", "max_length": 10**12, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip
    file.write_text(json.dumps(told), "utf-8")
    assert Tokenizer.from_directory(folder).encode("ab")
