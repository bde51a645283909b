"""Environments that are graded in one process evaluate no text, and keep nothing of what they graded."""

import ast
import copy
import importlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.environment import make_environment
from archipel.work.grading.process import PURE

EVALUATORS = frozenset(
    [
        "eval",
        "exec",
        "compile",
        "__import__",
        "import_module",
        "literal_eval",
        "getattr",
        "setattr",
        "delattr",
        "globals",
        "locals",
        "vars",
        "pickle",
        "marshal",
        "loads",
        "load",
        "parse_expr",
        "sympify",
        "os",
        "sys",
        "subprocess",
        "open",
        "write",
    ]
)
GRADING_READS = ("secret_order", "drawers", "guess", "answers", "jsonl", "parameters", "task")
TEXTS = [
    "",
    "abc",
    "#### 42",
    "72",
    "[__import__('pathlib').Path('seen').write_text('x')]",
    "[setattr(type(self), 'score_answer', lambda *a, **k: 1.0)]",
    "{}" * 1000,
    "\x00\ud800",
]


@pytest.fixture
def environments(tmp_path: Path) -> dict[str, Any]:
    """One of each kind that is graded in one process."""
    lines = [f'{{"question": "q{n}", "answer": "so it is #### {n}"}}' for n in range(200)]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    parameters: dict[str, dict[str, Any]] = {
        "secret_order": {"length": 4},
        "drawers": {"letters": 3},
        "guess": {"guesses": 2},
        "jsonl": {"path": str(tmp_path / "questions.jsonl"), "answer_anywhere": True},
    }
    return {
        name: make_environment(EnvironmentSection(name=name, parameters=given), 0, b"secret")
        for name, given in parameters.items()
    }


def test_these_are_all(environments: dict[str, Any]) -> None:
    assert {type(each) for each in environments.values()} == PURE


def _graders(module: str) -> list[ast.AST]:
    """The functions that grade, and those that they may call: all but what reads settings and files."""
    source = Path(
        importlib.import_module(f"archipel.training.environments.{module}").__file__ or ""
    )
    readers = ("__init__", "read", "_read", "_parse", "_split", "nearest")
    return [
        node
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.FunctionDef) and not node.name.startswith(readers)
    ]


@pytest.mark.parametrize("module", GRADING_READS)
def test_nothing_in_them_evaluates_a_text_or_reaches_a_module(module: str) -> None:
    for function in _graders(module):
        called = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        called |= {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
        assert not called & EVALUATORS, getattr(function, "name", "")


@pytest.mark.parametrize("module", ["secret_order", "drawers", "guess", "jsonl", "answers"])
def test_nothing_in_them_is_kept(module: str) -> None:
    for function in _graders(module):
        stored = [
            node
            for node in ast.walk(function)
            if isinstance(node, ast.Global | ast.Nonlocal)
            or (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
        ]
        assert not stored, getattr(function, "name", "")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=30)), max_size=20))
def test_no_text_changes_what_is_kept_or_a_later_reward(texts: list[str]) -> None:
    secret = make_environment(
        EnvironmentSection(name="secret_order", parameters={"length": 3, "alphabet": 8}), 0, b"s"
    )
    _keeps(secret, texts)


def test_no_text_changes_what_questions_are_kept(environments: dict[str, Any]) -> None:
    _keeps(environments["jsonl"], TEXTS)


def test_no_text_changes_what_drawers_hold(environments: dict[str, Any]) -> None:
    _keeps(environments["drawers"], TEXTS)
    _keeps(environments["guess"], TEXTS)


def _keeps(environment: Any, texts: list[str]) -> None:
    task = environment.task("train", 0)
    before, answer = copy.deepcopy(vars(environment)), _rewards(environment, task)
    for text in texts:
        environment.grade(task, text, True)
    assert vars(environment) == before
    assert _rewards(environment, task) == answer


def _rewards(environment: Any, task: Any) -> list[float]:
    return [environment.grade(task, text, True) for text in ("abc", "#### 3", *TEXTS)]
