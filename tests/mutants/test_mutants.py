"""The mutant tool on a package of one file whose tests are known to be weak in one place."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mutants.mutation import mutated, mutations
from mutants.session import possible, sample

SOURCE = '''"""A room with one weak spot: 1 < 2."""
import logging
from typing import TYPE_CHECKING

__all__ = ["price"]
if TYPE_CHECKING:
    LIMIT = 1
log = logging.getLogger(__name__)


def price(weight: "int < 3", is_far: bool) -> int:
    """Never 1 + 1."""
    log.info("asked %d", 7)
    if weight >= 10 and is_far:
        return weight * 5
    return weight + 2
'''
TESTS = """
from islet.room import price

def test_near_and_far():
    assert price(3, True) == 5
    assert price(20, True) == 100
    assert price(20, False) == 22
"""


@pytest.fixture
def islet(tmp_path: Path) -> Path:
    """A checkout with the package `islet`, its tests, and no equivalents."""
    root = tmp_path / "islet"
    for path, text in {
        "src/islet/__init__.py": "",
        "src/islet/room.py": SOURCE,
        "tests/room/test_room.py": TESTS,
        "equivalents.toml": "",
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--import-mode=importlib'\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def _command(root: Path, *options: str) -> list[object]:
    return [
        sys.executable, "-m", "mutants.session", "room", "--root", root, *options,
        "--equivalents", root / "equivalents.toml",
    ]  # fmt: skip


ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin"}


def _session(root: Path, *options: str) -> tuple[dict, str]:
    command = _command(root, "--json", *options)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[0], done.stderr


def test_what_says_nothing_to_a_program_is_never_changed() -> None:
    lines = {each.line for each in mutations(SOURCE)}
    assert lines == {14, 15, 16}


def test_every_mutation_gives_a_different_program() -> None:
    changed = {mutated(SOURCE, each) for each in mutations(SOURCE)}
    assert SOURCE not in changed
    assert len(changed) == len(mutations(SOURCE))


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        ("def f(a):\n    if not a: g(a, 1)\n", "negated", ["(a)"]),
        ("x = [a for a in b if a]\n", "negated", ["(not (a))"]),
        ("é = b[c:]\n", "slice", ["(b[1:])", "(b[c + 1:])", "(b[c:-1])"][1:]),
        ("f(a, b, *c)\n", "swapped", ["(f(b, a, *c))"]),
        ("f(a, a)\n", "swapped", []),
        ("def f():\n    return False\n", "return", ["return True"]),
        ("x = 1 <= y < 3\n", "comparison", ["(1 < y < 3)", "(1 <= y <= 3)"]),
        ("LIMIT = 300\n", "constant", ["(299)", "(301)", "(600)"]),
        ("x = a % b\n", "arithmetic", ["(a // b)"]),
        ("x = a or b\n", "boolean", ["(a and b)"]),
        ("async def f():\n    await g()\n    raise h\n", "dropped", ["pass", "pass"]),
    ],
)
def test_each_kind_changes_what_it_names(source: str, kind: str, expected: list[str]) -> None:
    assert [each.after for each in mutations(source) if each.kind == kind] == expected


def test_the_same_seed_draws_the_same_sample(islet: Path) -> None:
    every = possible(islet / "src", "islet", "room", ())
    assert sample(every, 5, 1) == sample(list(every), 5, 1)
    assert sample(every, 5, 1) != sample(every, 5, 2)
    assert len({each.mutation.place for each in sample(every, 99, 1)}) > 8


@pytest.mark.slow
def test_survivors_are_the_lines_that_no_test_holds_and_the_source_is_untouched(
    islet: Path,
) -> None:
    (islet / "equivalents.toml").write_text(
        "[[equivalent]]\nfile = 'islet/room.py'\nscope = 'price'\nbefore = 'weight * 5'\n"
        "after = '(weight + 5)'\nreason = 'made up'\n"
        "[[equivalent]]\nfile = 'islet/room.py'\nscope = 'gone'\nbefore = 'a'\nafter = 'b'\n"
        "reason = 'of another time'\n"
    )
    before = {path: path.read_bytes() for path in islet.rglob("*") if path.is_file()}
    found, said = _session(islet, "--count", "99")
    fates = {(each["line"], each["kind"]): each["fate"] for each in found["mutants"]}
    assert fates.pop((15, "arithmetic")) == "equivalent"
    weak = {place for place, fate in fates.items() if fate != "killed"}
    assert weak == {(14, "comparison"), (14, "constant")}, "a weight near the limit is not tested"
    assert found["survived"] == 2
    assert found["killed"] == len(fates) - 2
    assert "'gone'" in said
    assert {path: path.read_bytes() for path in islet.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_mutant_that_breaks_everything_is_killed_although_another_tree_would_pass(
    islet: Path,
) -> None:
    (islet / "src/islet/room.py").write_text("SIZE = 3\n")
    (islet / "tests/room/test_room.py").write_text(
        "from islet.room import SIZE\ndef test_size():\n    assert SIZE == 3\n"
    )
    found, _ = _session(islet, "--count", "1")
    assert [each["fate"] for each in found["mutants"]] == ["killed"]


@pytest.mark.slow
def test_a_mutant_meets_the_tests_whose_conftest_alone_imports_its_module(islet: Path) -> None:
    (islet / "src/islet/room.py").write_text("SIZE = 3\n")
    (islet / "tests/room/test_room.py").write_text(
        "import islet.room\ndef test_something_else():\n    assert islet.room\n"
    )
    deep = islet / "tests/room/deep"
    deep.mkdir()
    (deep / "conftest.py").write_text(
        "import pytest\nfrom islet.room import SIZE\n"
        "@pytest.fixture\ndef size():\n    return SIZE\n"
    )
    (deep / "test_deep.py").write_text("def test_size(size):\n    assert size == 3\n")
    found, _ = _session(islet, "--count", "1")
    assert [each["fate"] for each in found["mutants"]] == ["killed"]


@pytest.mark.slow
def test_a_hang_ends_by_the_clock_and_counts_apart(islet: Path) -> None:
    (islet / "src/islet/room.py").write_text(
        "def spin(flag):\n    while flag:\n        pass\n    return 'done'\n"
    )
    (islet / "tests/room/test_room.py").write_text(
        "from islet.room import spin\ndef test_spin():\n    assert spin(None) == 'done'\n"
    )
    found, _ = _session(islet, "--count", "9")
    fates = {each["kind"]: each["fate"] for each in found["mutants"]}
    assert fates == {"negated": "hung", "return": "killed"}


@pytest.mark.slow
def test_ctrl_c_ends_it_with_what_is_known(islet: Path) -> None:
    process = subprocess.Popen(
        _command(islet, "--count", "99", "--jobs", "1"),
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert any(line.startswith("[1/") for line in process.stderr)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    row = dict(zip(*(line.split()[:5] for line in shown.splitlines()[-2:]), strict=True))
    assert row["room"] == "room"
    assert 1 <= sum(int(row[fate]) for fate in ("killed", "hung", "survived")) < 10, shown
