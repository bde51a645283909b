"""`archipel corpus`: what is asked is made, shown and checked; what is wrong is one sentence."""

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from archipel.cli.archipel import command
from archipel.model.tokenizer import byte_tokenizer
from corpora import write_text


def _run(*words: object) -> Result:
    return CliRunner().invoke(command, ["corpus", *map(str, words)])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("corpus")
    write_text(place / "text.txt", 60)
    (place / "start").mkdir()
    byte_tokenizer().write(place / "start")
    (place / "start" / "config.json").write_text('{"vocab_size": 259}')
    return place


def _make(place: Path, *more: object) -> Result:
    return _run(
        *("make", place / "text.txt", "--documents", "blank-lines", "--out", place / "corpus"),
        *("--license", "CC0-1.0", "--source", "a test", "--shard-tokens", 1000, "--held-out", 0.2),
        *more,
    )


def test_a_corpus_is_made_shown_and_checked(place: Path) -> None:
    shown = _make(place, "--model", place / "start", "--json")
    assert shown.exit_code == 0, shown.output
    said = json.loads(shown.stdout)
    assert said["shards"] > 2
    assert said["read"] == 60
    again = _make(place, "--tokenizer", "bytes")
    assert "0 of the shards made now" in again.stdout
    assert said["digest"] in again.stdout
    lasting = _run(
        *("show", place / "corpus", "--sequence-length", 16, "--steps", 2, "--batch", 4),
        *("--members", 2, "--epochs", 3, "--json"),
    )
    told = json.loads(lasting.stdout)
    assert told["digest"] == said["digest"]
    assert told["outer_steps"] == told["blocks"] * 3 // 2 > 0
    words = _run("show", place / "corpus", "--sequence-length", 16).stdout
    assert f"{told['windows']:,} windows" in words
    assert "a test (CC0-1.0)" in words
    assert _run("verify", place / "corpus", "--model", place / "start").exit_code == 0


def test_what_is_wrong_is_said_and_the_exit_code_is_one(place: Path, tmp_path: Path) -> None:
    assert _make(place, "--tokenizer", "bytes").exit_code == 0
    other = _run("verify", place / "corpus", "--tokenizer", "characters", "--json")
    assert other.exit_code == 1
    assert json.loads(other.stdout)["whole"] is False
    with pytest.raises(click.UsageError):
        _one_of(place)
    (tmp_path / "corpus.json").write_text("{}")
    for words, said in (
        (("show", tmp_path), "none of form 1"),
        (("show", place), "has no corpus.json"),
        (("verify", place / "corpus", "--tokenizer", tmp_path), "has no tokenizer.json"),
    ):
        shown = _run(*words)
        assert shown.exit_code == 1
        assert re.search(said, str(shown.exception)), shown.exception


def _one_of(place: Path) -> None:
    from archipel.cli.corpus_words import where_of

    assert where_of(place / "start", None) == str(place / "start")
    assert where_of(None, "bytes") == "bytes"
    where_of(place / "start", "bytes")


def test_a_tokenizer_with_more_ids_than_its_network_is_refused(tmp_path: Path) -> None:
    byte_tokenizer().write(tmp_path)
    (tmp_path / "config.json").write_text('{"vocab_size": 258}')
    write_text(tmp_path / "text.txt", 3)
    shown = _make(tmp_path, "--model", tmp_path)
    assert "has 259 ids and its network 258" in str(shown.exception)
