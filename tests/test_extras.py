"""One command for every optional part, and it is the one that works: the package is in no registry."""

import ast
import re
import tomllib
from pathlib import Path

from archipel.extras import install, needs

HOUSE = Path(__file__).parents[1]
EXTRAS = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]["optional-dependencies"]
BY_REGISTRY = re.compile(r"install \W?archipel\[")


def _texts() -> dict[Path, str]:
    found = [HOUSE / "README.md", *(HOUSE / "docs").rglob("*.md")]
    found += [path for path in (HOUSE / "src").rglob("*.*") if path.suffix in (".py", ".toml")]
    return {path: path.read_text("utf-8") for path in found}


def _named(text: str) -> set[str]:
    """The extras that a module names where it says what is missing."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and node.args]
    last = [call.args[-1] for call in calls if getattr(call.func, "id", "") in ("needs", "install")]
    return {each.value for each in last if isinstance(each, ast.Constant)}


def test_nobody_is_told_to_install_from_a_registry_and_every_extra_named_there_is():
    wanted = set()
    for path, text in _texts().items():
        assert not BY_REGISTRY.search(text), path
        wanted |= set(re.findall(r"-e '\.\[(\w+)\]'", text))
        if "from archipel.extras import" in text:
            wanted |= _named(text)
    assert {"gym", "verifiers", "hub", "gguf", "postgres", "transformers"} <= wanted
    assert wanted <= EXTRAS.keys()


def test_the_command_is_the_one_that_make_install_prints():
    (said,) = re.findall(r"optional parts: \$\(BIN\)/(.*?) \(or", (HOUSE / "Makefile").read_text())
    assert install("gym") == said
    assert needs("a thing", "gym").endswith(said)
