"""The limits that CONTRIBUTING states: short files, short functions, names that say something."""

import ast
from pathlib import Path

import pytest

import archipel
from archipel.records.kinds import WORDS_OF

SOURCE = Path(archipel.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = ("records", "lab", "work")
"""Each has a file for every kind of work."""
MAX_FILE_LINES = 300
MAX_BODY_LINES = 40
NAMES_OF_NOTHING = {"utils", "common", "helpers", "misc", "core", "base", "main", "manager"}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines after signature, docstring and a command's imports."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    body = [each for each in body if not isinstance(each, ast.Import | ast.ImportFrom)]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text())
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_a_file_fits_on_a_few_screens_and_its_functions_on_one() -> None:
    """All files in one test: their number is what another test each would cost."""
    assert [str(path) for path in FILES if path.stem in NAMES_OF_NOTHING] == []
    lines = {str(path): path.read_text().count("\n") for path in FILES}
    assert {path: n for path, n in lines.items() if n > MAX_FILE_LINES} == {}
    assert {
        f"{path}: {each.name}": num_lines
        for path in FILES
        if lines[str(path)] > MAX_BODY_LINES
        for each in functions(path)
        if (num_lines := body_lines(each)) > MAX_BODY_LINES
    } == {}


def imported(path: Path) -> set[str]:
    """Modules that a file names in its imports, `from package import module` included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
            names.update(f"{node.module}.{each.name}" for each in node.names)
    return names


@pytest.mark.parametrize("kind", WORDS_OF)
def test_kinds_of_work_do_not_know_each_other_in_any_room(kind: str) -> None:
    """Contracts of import-linter compare the kinds of one room; this compares each with all of all rooms."""
    others = {
        f"archipel.{room}.kinds.{name}" for room in ROOMS for name in WORDS_OF if name != kind
    }
    for room in ROOMS:
        assert not imported(SOURCE / room / "kinds" / f"{kind}.py") & others
