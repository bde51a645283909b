"""Whoever looks at a run that a library computes is told so, and that its sampling is not batch-invariant."""

from typing import Any

from rich.console import Console

from archipel.cli.run_page import page
from archipel.cli.watching import Scene, picture
from archipel.curves.history import History
from archipel.records.documents import RunView


def view(**changed: Any) -> RunView:
    fields: dict[str, Any] = {
        "run": "foreign",
        "programme": "rl",
        "phase": "running",
        "version": 1,
        "versions": 8,
        "recipe": "sha256:0",
        "opened_at_ms": 0,
        "published_at_ms": (1,),
        "learner_utilisation": 0.5,
        "reward": 0.25,
        "rewards": (0.25,),
        "evaluations": (),
        "spent_micro": 0,
        "progress": {"groups_in_flight": 12},
    }
    return RunView(**(fields | changed))


def looks(run: RunView) -> list[str]:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(picture(Scene([run], [], []), 160, 40))
    return [captured.get(), page(run, History("foreign", 8, (), ()), [])]


def test_the_backend_is_said_where_it_is_not_our_own() -> None:
    for look in looks(view(backend="transformers")):
        assert "transformers" in look
        assert "not batch-invariant" in look
    for look in looks(view()):
        assert "invariant" not in look
