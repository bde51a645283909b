"""Backup and restore, rehearsed: a lab's machine is lost in the middle of a run, and the run ends on another."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archipel import source_environment
from archipel.bench.site import Site
from archipel.cli.ledger_checked import HEAD_FILE
from archipel.identity import Identity
from archipel.lab.recovery import pages
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key
from burnt import burn
from stage import EVERY_PROCESS, Outcome, Stage

VERSIONS = 6  # as the undisturbed run's


class Movable(Site):
    """A site whose lab may have its home somewhere else from some moment on."""

    lab_home: Path | None = None

    def home(self, name: str) -> Path:
        return self.lab_home if name == "lab" and self.lab_home else super().home(name)


@pytest.fixture
def stage(start: Path, tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path / "site", start, VERSIONS, staleness=0) as stage:
        stage.site.close()
        stage.site = Movable(tmp_path / "site", EVERY_PROCESS)
        yield stage


def _lab(command: str, folder: Path, home: Path) -> dict[str, Any]:
    """One of the two commands, as an operator would type it."""
    words = [sys.executable, "-m", "archipel.cli.archipel", "lab", command, str(folder)]
    told = subprocess.run(
        [*words, "--home", str(home), "--json"],
        env={**source_environment(), **EVERY_PROCESS},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    result: dict[str, Any] = json.loads(told.stdout)
    return result


def _entries(folder: Path) -> list[bytes]:
    did = Identity.load(folder / "lab.key").did
    log = read_log(folder / "ledger.sqlite", lab_key(did), folder / HEAD_FILE)
    try:
        return list(pages(log))
    finally:
        log.close()


@pytest.mark.slow
def test_a_lab_whose_disk_is_gone_goes_on_from_its_copy_on_another_and_the_run_ends(
    stage: Stage, tmp_path: Path, undisturbed: Outcome
) -> None:
    copy, elsewhere = tmp_path / "copy", tmp_path / "elsewhere"
    stage.open()
    for name in ("a", "b"):
        stage.site.start_node(name)
    stage.wait_for_version(1)
    _lab("backup", copy, stage.site.home("lab"))  # the first of several: a timer's
    stage.wait_for_version(3)
    told = _lab("backup", copy, stage.site.home("lab"))  # beside a lab that works
    assert told["missing_blobs"] == []
    kept = _entries(copy)
    stage.wait_for_version(4)  # what is accepted from here on, nobody copied
    port = int(stage.site.url.rsplit(":", 1)[1])
    stage.site.kill("lab")
    burn(stage.site.home("lab"))

    put_back = _lab("restore", copy, elsewhere)
    assert (put_back["entries"], put_back["root"]) == (told["entries"], told["root"])
    assert isinstance(stage.site, Movable)
    stage.site.lab_home = elsewhere
    stage.site.start_lab(port)
    outcome = stage.finished()  # replayed: books balance, no group lost or counted twice
    assert outcome.policies == undisturbed.policies
    assert _entries(elsewhere)[: len(kept)] == kept
