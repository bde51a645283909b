"""`archipel recipe`: the reference is complete and current, recipes print as TOML, and check finds what would fail."""

import json
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from archipel.cli.archipel import command
from archipel.cli.doors import Mendable
from archipel.cli.recipe_page import meanings_of, reference, section_types
from archipel.cli.recipes import find_any_recipe, shipped_recipes, with_stop
from archipel.cli.secrets import found_secret
from archipel.cli.toml import to_toml
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.records.programmes import parse_any
from archipel.records.recipe import AlgorithmSection, LossSection, Recipe, parse_recipe
from archipel.records.recipe_door import DoorRecipe
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.training.environments.environment import environment_names, parameters_of
from archipel.training.environments.parameters import Parameters, Scalar, declared_by
from archipel.training.environments.task import InvalidEnvironment, Task
from archipel.work.readiness import shortcomings
from tiny import tiny_recipe

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "recipe.md"
OWN_SECTIONS = {
    f"[{name}] of {whose}": section
    for whose, form in (("pretraining", PretrainRecipe), ("a door", DoorRecipe))
    for name, section in section_types(form).items()
    if section is not section_types().get(name)
}
REPAIR = "archipel recipe reference --out docs/reference/recipe.md"


def _said(*words: str) -> Result:
    return CliRunner().invoke(command, ["recipe", *words], catch_exceptions=False)


def test_the_reference_in_the_docs_is_what_the_schema_says_now() -> None:
    assert PAGE.read_text("utf-8") == reference(), f"run: {REPAIR}"
    assert _said("reference", "--out", str(PAGE), "--check").exit_code == 0


def test_the_reference_names_every_section_key_choice_environment_and_parameter() -> None:
    page = PAGE.read_text("utf-8")
    for name, section in section_types().items():
        (_, part) = page.split(f"## [{name}]\n")
        rows = part.split("\n## ")[0]
        for key in section.model_fields:  # type: ignore[attr-defined]  # a section
            assert f"| `{key}` |" in rows, f"{name}.{key}"
    for name, section in OWN_SECTIONS.items():
        (_, part) = page.split(f"## {name}\n")
        for key in section.model_fields:  # type: ignore[attr-defined]  # a section
            assert f"| `{key}` |" in part.split("\n## ")[0], f"{name}.{key}"
    for kind in (LossSection, AlgorithmSection):
        for choice in get_args(kind.model_fields["name"].annotation):
            assert f"- `{choice}`: " in page
    for name in environment_names():
        assert f"### {name}\n" in page


@pytest.mark.parametrize("name", [*section_types(), *OWN_SECTIONS])
def test_every_key_says_what_it_means(name: str) -> None:
    for section in filter(None, (section_types().get(name), OWN_SECTIONS.get(name))):
        _says_what_it_means(section)


def _says_what_it_means(section: Any) -> None:
    silent = set(section.model_fields) - set(meanings_of(section))
    assert not silent, f"write a line below {', '.join(sorted(silent))} of {section.__name__}"


def test_what_an_environment_reads_is_what_is_listed_with_its_bounds() -> None:
    def make(values: dict[str, Scalar]) -> None:
        settings = Parameters("mine", values)
        settings.text("needed")
        settings.text("colour", "red", choices=("red", "blue"))
        settings.integer("count", None, low=3, high=9)
        settings.flag("loud", False)
        settings.finish()
        raise InvalidEnvironment("a file is missing")

    listed = {each.key: (each.kind, each.default, each.expected) for each in declared_by(make)}
    assert listed == {
        "needed": ("text", None, "a string"),
        "colour": ("text", "red", "one of red, blue"),
        "count": ("integer", None, "an integer from 3 to 9"),
        "loud": ("flag", False, "true or false"),
    }
    with pytest.raises(InvalidEnvironment, match="needed is missing"):
        make({})


def test_listing_reads_what_every_environment_can_be_given() -> None:
    keys = {name: {each.key for each in parameters_of(name)[1]} for name in environment_names()}
    assert {"path", "test_path", "template"} <= keys["jsonl"]
    assert {"task", "labels"} <= keys["reasoning_gym"]
    assert {"length", "lengths", "alphabet", "reward"} <= keys["secret_order"]
    assert {"taskset", "max_tasks"} <= keys["verifiers"]


VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),  # half an emoji is in no file
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)


@given(VALUES, VALUES)
def test_sections_come_back_from_their_toml(one: Any, other: Any) -> None:
    sections = {"a": {"x": one, "inner": {"odd key!": other, "y": one}}, "empty": {}, "top": other}
    assert tomllib.loads(to_toml(sections)) == sections


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_a_shipped_recipe_prints_as_it_is_and_in_full_and_both_are_the_same_recipe(
    name: str, tmp_path: Path
) -> None:
    assert name in _said("list").output
    plain = _said("show", name).output
    assert plain == shipped_recipes()[name]
    full = _said("show", name, "--full").output
    assert parse_any(full) == find_any_recipe(name)
    assert "keep_versions = 256" in full
    told = json.loads(_said("show", name, "--json").output)
    assert told["digest"] == find_any_recipe(name).digest


def test_stop_strings_of_an_option_are_as_strictly_read_as_a_files() -> None:
    recipe = parse_recipe(
        '[run]\nname = "r"\nversions = 1\n[environment]\nname = "e"\n[sampling]\nallowed = "01;"'
    )
    assert with_stop(recipe, (";",)).sampling.stop == (";",)
    with pytest.raises(
        Mendable, match=r"--stop with recipe r: sampling.stop: 'END' has 'E', which"
    ):
        with_stop(recipe, ("END",))
    with pytest.raises(
        Mendable, match=r"--stop with recipe r: sampling.stop.0: String should have"
    ):
        with_stop(recipe, ("",))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "model"
    tokenizer = character_tokenizer()
    config = DecoderConfig.from_section(tiny_recipe(1, 0).model, tokenizer)
    write_model(folder, random_weights(config, 0), config, tokenizer)
    return folder


def _changed(**sections: dict[str, Any]) -> Recipe:
    plain = tiny_recipe(3, 1).model_dump()
    for name, values in sections.items():
        plain[name] = plain[name] | values
    return Recipe.model_validate(plain)


def test_a_recipe_that_works_has_no_shortcomings(weights: Path) -> None:
    assert shortcomings(tiny_recipe(3, 1), weights, b"secret") == []
    assert shortcomings(tiny_recipe(3, 1), None, b"secret") == []


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"environment": {"name": "jsnol"}}, "did you mean 'jsonl'"),
        ({"environment": {"parameters": {"lenght": 2}}}, "did you mean 'length'"),
        (
            {"environment": {"name": "jsonl", "parameters": {"path": "gone.jsonl"}}},
            "cannot read gone.jsonl",
        ),
        ({"sampling": {"max_new_tokens": 2000}}, "max_new_tokens is 2000"),
        ({"sampling": {"max_new_tokens": 29}}, "prompts do not fit: beside 29 new tokens the model has room for 3"),
        ({"sampling": {"stop": ("ab", "a\u00e9")}}, "sampling.stop: 'a\u00e9' has '\u00e9', which no token"),
    ],
)  # fmt: skip
def test_what_would_end_every_node_is_found_before_the_run_is_open(
    weights: Path, sections: dict[str, Any], expected: str
) -> None:
    found = shortcomings(_changed(**sections), weights, b"secret")
    assert found
    assert expected in found[0]
    assert all("\n" not in each and len(each) < 400 for each in found)


def test_a_secret_that_is_missing_or_open_to_others_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    secret, (missing,) = found_secret(tiny_recipe(3, 1))
    assert secret is None
    assert "archipel update secret secret-order" in missing
    path = tmp_path / "update" / "secrets" / "secret-order"
    assert str(path) in missing
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    path.chmod(0o644)
    assert found_secret(tiny_recipe(3, 1)) == (
        None,
        [f"{path} may be read by others; run: chmod 600 {path}"],
    )
    path.chmod(0o600)
    assert found_secret(tiny_recipe(3, 1)) == (b"x", [])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("family", "model_type"),
        ("cut", "not readable as safetensors"),
        ("shape", "has shape"),
        ("tokenizer", "tokenizer.json"),
        ("weights", "has no model.safetensors"),
    ],
)
def test_a_model_directory_that_no_node_could_load_is_found(
    weights: Path, tmp_path: Path, damage: str, expected: str
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for file in weights.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    if damage == "family":
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    elif damage == "cut":
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    elif damage == "shape":
        (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 128}))
    elif damage == "tokenizer":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "model.safetensors").unlink()
    found = shortcomings(tiny_recipe(3, 1), folder, b"secret")
    assert any(expected in each for each in found), found


class _Foreign:
    """An environment whose tasks end before their number does."""

    supervised_floor = None

    def task(self, split: str, index: int) -> Task:
        return Task(index=index, split=split, prompt="abc"[index] + "=")

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        return 0.0

    def supervised(self, index: int) -> None:
        return None


def test_an_environment_that_fails_at_a_task_is_told_by_its_task(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.work.readiness.make_environment", lambda *given: _Foreign())
    found = shortcomings(_changed(evaluation={"num_tasks": 2}), weights, b"secret")
    assert found == ["the task of group 3 cannot be made: IndexError: string index out of range"]


def test_an_evaluations_tasks_are_looked_at_too(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HeldOut(_Foreign):
        def task(self, split: str, index: int) -> Task:
            if split == "dev" and index == 2:
                raise KeyError("no such word")
            return Task(index=index, split=split, prompt="a" * (20 if split == "dev" else 2))

    monkeypatch.setattr("archipel.work.readiness.make_environment", lambda *given: HeldOut())
    (broken,) = shortcomings(_changed(evaluation={"num_tasks": 3}), weights, b"secret")
    assert broken.startswith("evaluation, dev part: the task of group 2 cannot be made: KeyError")
    changes = {"evaluation": {"num_tasks": 2}, "sampling": {"max_new_tokens": 15}}
    (long,) = shortcomings(_changed(**changes), weights, b"secret")
    assert long.startswith("2 prompts of evaluations leave no room for an answer, first dev task 0")


def test_looking_at_prompts_ends_in_time(weights: Path) -> None:
    found = shortcomings(_changed(sampling={"max_new_tokens": 29}), weights, b"secret", limit_s=0.0)
    assert found == []


def test_check_answers_in_sentences_and_a_code(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    bad = _said("check", "secret-order", "--weights", str(weights))
    assert bad.exit_code == 1
    assert "secret-order: the run needs secret 'secret-order'" in bad.output
    assert not (tmp_path / "home").exists()
    secret = tmp_path / "secret"
    secret.write_bytes(b"anything")
    good = _said("check", "secret-order", "--secret-file", str(secret))
    assert (good.exit_code, good.output) == (0, "secret-order: ready\n")
    told = json.loads(_said("check", "secret-order", "--json").output)
    assert len(told["faults"]) == 1
