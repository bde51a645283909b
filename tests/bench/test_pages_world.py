"""A lab with much to show is one that its own ledger gives."""

from pathlib import Path

import pytest

from archipel.bench.pages_world import pages_world
from archipel.dashboard.chronicle.reading import Chronicle
from archipel.lab.recovery import pages, replay
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key


def test_ledger_fold_and_chronicle_agree_and_every_node_works(tmp_path: Path) -> None:
    home = tmp_path / "home"
    world = pages_world(home, versions=2, nodes=12)
    lab = world.state.lab
    log = read_log(home / "ledger.sqlite", lab_key(lab), home / "ledger.head")
    assert replay(lab, pages(log)) == world.state
    log.close()
    chronicle = Chronicle(home / "chronicle.sqlite")
    assert chronicle.size == world.state.size
    (run,) = world.state.runs.values()
    assert [each.version for each in chronicle.series(run.name)] == [0, 1, 2]
    assert [each.version for each in chronicle.exams(run.name)] == [0, 1, 2]
    assert chronicle.growth()[-1].size == world.state.size
    strangers = [each for each in world.state.nodes.values() if "rollout" in each.tallies]
    assert len(strangers) == 12
    with pytest.raises(FileExistsError):
        pages_world(home, versions=1, nodes=1)
