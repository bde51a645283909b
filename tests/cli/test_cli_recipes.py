"""A recipe's own files are found from where the recipe lies, wherever its reader stands."""

from pathlib import Path

import pytest

from archipel.cli.doors import Mendable
from archipel.cli.recipes import find_any_recipe, find_recipe

RECIPE = """
[run]
name = "mine"
versions = 3
[environment]
name = "jsonl"
parameters = { path = "train.jsonl", test_path = "/data/test.jsonl" }
"""


def test_a_recipes_relative_files_lie_beside_it_whoever_reads_it_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p2").mkdir()
    (tmp_path / "p2" / "add.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    outside = find_any_recipe("p2/add.toml")
    monkeypatch.chdir(tmp_path / "p2")
    inside = find_recipe("add.toml")
    assert inside == outside
    assert inside.digest == outside.digest
    placed = {"path": str(tmp_path / "p2" / "train.jsonl"), "test_path": "/data/test.jsonl"}
    assert inside.environment.parameters == placed


def test_a_shipped_recipes_files_lie_in_the_folder_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = find_recipe("gsm8k").environment.parameters["path"]
    assert path == str(tmp_path / "gsm8k_train.jsonl")


def test_a_folder_whose_name_is_no_text_ends_as_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "\udcff"
    folder.mkdir()
    (folder / "add.toml").write_text(RECIPE)
    with pytest.raises(Mendable, match="cannot stand in a recipe"):
        find_recipe(str(folder / "add.toml"))
