"""The reference page names every parameter that an environment reads, and no other environment."""

import re
from pathlib import Path

import pytest

from archipel.training.environments import environment

FOLDER = Path(environment.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "environments.md").read_text("utf-8")
NAMES = sorted(environment._ENVIRONMENTS)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_described_in_its_environments_section(name):
    _, found, rest = PAGE.partition(f"## `{name}`\n")
    assert found
    section = rest.partition("\n## ")[0]
    source = (FOLDER / f"{name}.py").read_text("utf-8")
    read = set(re.findall(r"settings\.(?:text|integer|flag)\(\s*\"(\w+)\"", source))
    if "read_template(" in source:
        read.add("template")
    assert read
    described = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE))
    assert described == read


def test_every_environment_has_a_section():
    assert sorted(re.findall(r"^## `(\w+)`", PAGE, flags=re.MULTILINE)) == NAMES
