"""One starting model, and one undisturbed run that all disturbed ones are compared to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stage import Outcome, Stage
from tiny import write_start

VERSIONS = 6


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="session")
def undisturbed(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One node, staleness 0, nothing happens."""
    with Stage(tmp_path_factory.mktemp("calm"), start, VERSIONS, staleness=0) as stage:
        stage.open()
        stage.site.start_node("only")
        return stage.finished()


@pytest.fixture
def make_stage(start: Path, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Stages that are cleared away whatever happens on them."""
    with ExitStack() as stages:
        yield lambda versions=VERSIONS, staleness=0: stages.enter_context(
            Stage(tmp_path / "site", start, versions, staleness)
        )
