"""What the shell is offered: runs of a lab, recipes, and the names that the planner's tables know."""

import click
import pytest

from archipel.cli.names import GROUPS, constant_names, members_of, recipe_names, run_names
from archipel.planning.requests import REQUESTS, options_of
from archipel.planning.tables import shelf

NOWHERE = click.Context(click.Command("x"), info_name="x")
ANY = click.Option(["--any"])


def _offered(complete: object, begun: str) -> list[str]:
    assert callable(complete)
    return [item.value for item in complete(NOWHERE, ANY, begun)]


def test_accelerators_are_offered_one_after_another() -> None:
    assert "h100" in _offered(members_of("kind"), "h1")
    assert "h100,a100-80" in _offered(members_of("kind"), "h100,a1")
    assert _offered(members_of("accelerator"), "no-such") == []


@pytest.mark.parametrize("option", GROUPS)
def test_every_option_with_names_is_one_of_a_question_and_has_some(option: str) -> None:
    options = {each.name for kind in REQUESTS.values() for each in options_of(kind)}
    assert option in options
    assert _offered(members_of(option), "") == shelf().members(GROUPS[option])
    assert members_of("budget") is None


def test_constants_are_offered_a_word_at_a_time() -> None:
    assert "rental" in _offered(constant_names, "re")
    assert "rental.h100" in _offered(constant_names, "rental.")
    assert all(name.count(".") == 1 for name in _offered(constant_names, "rental."))


def test_recipes_then_files_and_no_runs_without_a_lab() -> None:
    assert _offered(recipe_names, "secret") == ["secret-order"]
    assert _offered(recipe_names, "my.to") == ["my.to"]
    away = click.Context(click.Command("x"), info_name="x")
    away.params["lab_url"] = "http://127.0.0.1:9"
    assert run_names(away, ANY, "") == []
