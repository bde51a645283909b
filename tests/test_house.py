"""The limits that CONTRIBUTING states: short files, short functions, names that say something."""

import ast
import re
from pathlib import Path

import pytest

import archipel
from archipel.records.kinds import WORDS_OF
from longest import LONGEST, TESTS

SOURCE = Path(archipel.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = ("records", "lab", "work")
"""Each has a file for every kind of work."""
MAX_FILE_LINES = 300
MAX_BODY_LINES = 40
MAX_PAGE_WORDS = 1600
NAMES_OF_NOTHING = {"utils", "common", "helpers", "misc", "core", "base", "main", "manager"}
IMPURE = {
    *("asyncio", "fastapi", "httpx", "os", "pathlib", "secrets", "socket", "sqlite3", "starlette"),
    *("subprocess", "threading", "time"),
}
PURE = re.compile(r'"""[^"]*[.:;] Pure\.["\s]')
"""In a module's docstring. A seed may be drawn from, so `random` is for ruff to see to."""
IMPORTED = re.compile(r"^ *(?:from(?= [\w.]+ import )|import) (\w+)", re.MULTILINE)
BEGINS = re.compile(r"^( *)(def |async def |class |@)", re.MULTILINE)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines after signature, docstring and a command's imports."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    body = [each for each in body if not isinstance(each, ast.Import | ast.ImportFrom)]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def functions(text: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def may_be_long(text: str) -> bool:
    """Whether a function may have too many lines, by where the next one begins that is indented no further.

    Most files need not be parsed then. A file whose strings hold programs is, for these would end a function.
    """
    if any(BEGINS.search(string) for string in text.split('"""')[1::2]):
        return True
    opened: list[tuple[int, int]] = []
    num_lines, line, at = text.count("\n") + 1, 0, 0
    for found in BEGINS.finditer(text):
        line, at = line + text.count("\n", at, found.start()), found.start()
        indent = len(found[1])
        while opened and opened[-1][0] >= indent:
            if line - opened.pop()[1] > MAX_BODY_LINES:
                return True
        if found[2].endswith("def "):
            opened.append((indent, line))
    return any(num_lines - begun > MAX_BODY_LINES for _, begun in opened)


def test_only_files_without_a_long_function_are_passed_over() -> None:
    """A function one line too long is seen wherever it stands: last, nested, above a decorator, beside a program."""
    long = "def f():\n" + "    pass\n" * (MAX_BODY_LINES + 1)
    nested = "class A:\n" + "".join(f"    {line}\n" for line in long.splitlines())
    told = long.replace("pass", 'pass; """\ndef g():\n    """', 1)
    for text in (long, long + "@x\ndef g(): ...\n", nested + "x = 1\n", "async " + long, told):
        assert max(map(body_lines, functions(text))) > MAX_BODY_LINES
        assert may_be_long(text)
    assert not may_be_long("def f():\n    pass\n\n\n" * MAX_BODY_LINES)


def test_a_file_fits_on_a_few_screens_and_its_functions_on_one() -> None:
    """All files in one test: their number is what another test each would cost."""
    assert [str(path) for path in FILES if path.stem in NAMES_OF_NOTHING] == []
    texts = {str(path): path.read_text() for path in FILES}
    lines = {path: text.count("\n") for path, text in texts.items()}
    assert {path: n for path, n in lines.items() if n > MAX_FILE_LINES} == {}
    assert {
        f"{path}: {each.name}": num_lines
        for path, text in texts.items()
        if may_be_long(text)
        for each in functions(text)
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


def test_what_calls_itself_pure_has_no_clock_network_or_disk() -> None:
    """Beside the contract of those that decide: whatever else says so, in any room."""
    texts = {str(path): path.read_text() for path in FILES}
    pure = {path: set(IMPORTED.findall(text)) for path, text in texts.items() if PURE.match(text)}
    assert len(pure) > 100
    assert {path: found for path, names in pure.items() if (found := names & IMPURE)} == {}


@pytest.mark.parametrize("kind", WORDS_OF)
def test_kinds_of_work_do_not_know_each_other_in_any_room(kind: str) -> None:
    """Contracts of import-linter compare the kinds of one room; this compares each with all of all rooms."""
    others = {
        f"archipel.{room}.kinds.{name}" for room in ROOMS for name in WORDS_OF if name != kind
    }
    for room in ROOMS:
        assert not imported(SOURCE / room / "kinds" / f"{kind}.py") & others


def test_every_room_stands_in_the_house_and_the_house_on_a_page() -> None:
    page = (SOURCE.parents[1] / "ARCHITECTURE.md").read_text("utf-8")
    longer = (SOURCE.parents[1] / "docs" / "reference" / "rooms.md").read_text("utf-8")
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    rooms |= {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
    named = set(re.findall(r"`(\w+)`", page))
    assert rooms <= named, "a room is missing in ARCHITECTURE.md"
    assert {name for name in rooms if f"## `{name}" not in longer} == set()
    assert len(page.split()) <= MAX_PAGE_WORDS, "say it shorter; docs/reference/rooms.md has room"
    places = re.findall(r"\((\.\./[^)#]+)\)", longer)
    gone = [each for each in places if not (SOURCE.parents[1] / "docs/reference" / each).exists()]
    assert gone == []


def test_every_file_that_begins_first_is_there() -> None:
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)
