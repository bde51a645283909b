"""A lab that was told to end does so, though what it waits for never answers again."""

import signal
import time
from pathlib import Path

import pytest

from archipel.bench.ledger_server import NoServer, empty_schema, postgres_server
from archipel.bench.site import Site
from archipel.cli.last_deadline import LAB_S
from faults.labs import asleep
from faults.worlds import OPENING_S
from stage import EVERY_PROCESS

BEAT_S = 3.0
"""The leader asks its database within this, and then waits for it."""
SPARE_S = 60.0
"""For a busy machine."""


@pytest.mark.slow
def test_a_lab_whose_database_never_answers_again_ends_when_it_is_told_to(tmp_path: Path) -> None:
    try:
        with postgres_server(durable=False) as server, Site(tmp_path, EVERY_PROCESS) as site:
            place = empty_schema(server, "lab")
            site.start_lab(options=("--ledger", place, "--no-pages"), limit_s=OPENING_S)
            wake = asleep(place)
            time.sleep(BEAT_S)
            lab = site._processes.pop("lab")
            lab.send_signal(signal.SIGTERM)
            try:
                code = lab.wait(LAB_S + SPARE_S)
            finally:
                lab.kill()
                wake()
    except NoServer as error:
        pytest.skip(str(error))
    said = (tmp_path / "lab.out").read_text()
    assert code == 1, said
    assert f"not ended {LAB_S:g} s after it was to, because of " in said
    assert "Traceback" not in said
