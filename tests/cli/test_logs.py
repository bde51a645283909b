"""Where structured logs go."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.cli.logs import log_to


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    log = logging.getLogger("archipel")
    kept = log.handlers[:], log.level, log.propagate
    yield
    for each in log.handlers:
        each.close()
    log.handlers, log.level, log.propagate = list(kept[0]), kept[1], kept[2]


def test_a_log_that_goes_elsewhere_from_now_on_is_closed_where_it_went(tmp_path: Path) -> None:
    log = logging.getLogger("archipel.lab")
    log_to(tmp_path / "first")
    log.info("one", extra={"run": "r"})
    (first,) = logging.getLogger("archipel").handlers
    assert isinstance(first, logging.FileHandler)
    log_to(tmp_path / "second")
    log.info("two")
    assert first.stream is None, "closed"
    told = {name: (tmp_path / name).read_text().splitlines() for name in ("first", "second")}
    assert [[json.loads(line)["event"] for line in lines] for lines in told.values()] == [
        ["one"],
        ["two"],
    ]
    assert json.loads(told["first"][0])["run"] == "r"
