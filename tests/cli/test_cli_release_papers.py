"""`archipel release key` and `archipel release summary`: what they print, and how they refuse."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.release.oms.key import PublicKey, SigningKey
from archipel.release.papers.eu_summary import TO_BE_STATED
from cli_words import told
from releasing import lab_home
from tiny import NAME


def said(*words: object, code: int = 0) -> str:
    """What the command prints, both ways out."""
    done = CliRunner().invoke(command, ["release", *map(str, words)])
    text = done.output + (str(done.exception) if done.exception else "")
    assert (done.exit_code == 0) == (code == 0), text
    return text


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab_home(tmp_path_factory.mktemp("lab") / "lab")


def test_a_key_is_made_once_and_printed_as_others_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    code, first = told("release", "key", "--json", "--out", tmp_path / "key.pem")
    assert (code, first["made"]) == (0, True)
    again = told("release", "key", "--json")[1]
    assert again == first | {"made": False}
    public = PublicKey.from_pem((tmp_path / "key.pem").read_bytes())
    assert public.hint == first["hint"] == SigningKey.load(Path(first["key"])).public.hint
    assert Path(first["key"]).stat().st_mode & 0o777 == 0o600
    assert f"hint {public.hint}" in said("key")
    word = tmp_path / "word"
    word.write_text("a word\n")
    word.chmod(0o600)
    assert "stays as it is" in said("key", "--new-passphrase-file", word, code=1)
    sealed = tmp_path / "sealed.key"
    said("key", "--key", sealed, "--new-passphrase-file", word)
    assert b"PRIVATE KEY" not in sealed.read_bytes()
    asked = CliRunner().invoke(
        command, ["--passphrase-file", str(word), "release", "key", "--key", str(sealed), "--json"]
    )
    assert json.loads(asked.output)["made"] is False


@pytest.mark.slow
def test_a_summary_of_a_run_is_the_same_as_of_its_release_and_counts_what_is_left(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "own"))
    said("make", NAME, "--home", lab, "--out", tmp_path / "bundle", "--versions", "last")
    of_run = told("release", "summary", NAME, "--eu", "--home", lab, "--json")[1]
    of_release = told("release", "summary", tmp_path / "bundle", "--eu", "--json")[1]
    assert of_run == of_release
    text = of_run["summary"]
    assert text.encode() == (tmp_path / "bundle/papers/training-content-summary.md").read_bytes()
    assert of_run["to_be_stated"] == text.count(TO_BE_STATED) - 1 > 3
    words = tmp_path / "release.toml"
    words.write_text('authors = ["A. Person"]\ncopyright_measures = "None were needed."\n')
    out = tmp_path / "summary.md"
    fuller = ("summary", tmp_path / "bundle", "--eu", "--stated", words, "--out", out)
    assert f"{of_run['to_be_stated'] - 2} answers are to be stated" in said(*fuller)
    assert "Measures: None were needed." in out.read_text()


def test_a_summary_is_refused_with_its_sentence(lab: Path, tmp_path: Path) -> None:
    assert "There is one so far: --eu" in said("summary", NAME, "--home", lab, code=2)
    assert "is no release" in said("summary", tmp_path, "--eu", code=1)
    assert "opens no run" in said("summary", "other", "--eu", "--home", lab, code=1)
    (tmp_path / "release.json").write_text("{}")
    assert "is no index of a release: title: Field" in said("summary", tmp_path, "--eu", code=1)
    unknown = tmp_path / "words.toml"
    unknown.write_text("colour = 1\n")
    assert "colour" in said("summary", NAME, "--eu", "--home", lab, "--stated", unknown, code=1)
