"""Every cheat of the table, as a node of a real lab: found, named, unpaid; and no honest node is harmed.

One lab bears several cheats at a time, so that the stories stay short.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from archipel.bench.cheating import PROGRAM
from archipel.bench.cheats import CHEATS
from archipel.cli.ledger_checked import HEAD_FILE
from archipel.identity import Identity
from archipel.lab.recovery import pages, replay
from archipel.lab.state import LabState
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key
from stage import Stage
from tiny import NAME, write_start

HONEST = ("one", "two")
NAMES = tuple(CHEATS)
OLD = tuple(name for name in NAMES if name.endswith("old"))
NOW = tuple(name for name in NAMES if name not in OLD)
MAY_BE_RIGHT = {"truncated", "padded to the cap"}
"""Where all of an answer ends early, or none of it: then this changes nothing, and an audit finds it right."""
AT_ONCE = 4
"""Cheats of one lab."""


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


@pytest.fixture
def stage(start: Path, tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stages:
        made = stages.enter_context(Stage(tmp_path / "site", start, versions=200, staleness=1))
        exact = made.recipe.sampling.model_copy(update={"engine": "exact", "variant": "w7a8"})
        # One of them edits one rollout of many: whole answers are looked at, so that one look is enough.
        whole = made.recipe.audit.model_copy(update={"part": 1.0})
        made.recipe = made.recipe.model_copy(update={"sampling": exact, "audit": whole})
        made.open()
        yield made


def ledger(stage: Stage) -> LabState:
    """What anybody makes of the ledger, once everything has ended."""
    home = stage.site.home("lab")
    did = Identity.load(home / "lab.key").did
    log = read_log(home / "ledger.sqlite", lab_key(did), home / HEAD_FILE)
    try:
        return replay(did, pages(log))
    finally:
        log.close()


def quarantined(stage: Stage, dids: dict[str, str]) -> Callable[[], bool]:
    def are() -> bool:
        shown = stage.site.run(NAME)
        hard = [] if shown is None else [each for each in shown.verdicts if each.startswith("hard")]
        return all(any(did[-12:] in each.split(":")[1] for each in hard) for did in dids.values())

    return are


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("at", range(0, len(NOW), AT_ONCE))
def test_every_cheat_is_named_and_unpaid_and_no_honest_node_is_harmed(
    stage: Stage, at: int
) -> None:
    cheats = {
        name: stage.site.start_node(name.replace(" ", "-"), program=[*PROGRAM, name, "1"])
        for name in NOW[at : at + AT_ONCE]
    }
    honest = [stage.site.start_node(name) for name in HONEST]
    stage.wait(quarantined(stage, cheats), "a hard verdict on every cheat")
    stage.site.close()
    state = ledger(stage)
    for name, did in cheats.items():
        assert state.nodes[did].standing.quarantine is not None, name
        assert state.nodes[did].standing.verified == 0 or name in MAY_BE_RIGHT, name
    good = [state.nodes[did].standing for did in honest]
    assert all(each.hard == each.soft == each.refuted == 0 for each in good)
    # Everything ends with the last verdict, before each of them was looked at.
    assert sum(each.verified + each.confirmed for each in good) > 0
    assert sum(state.book.values()) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_old_weights_are_found_once_there_are_older_ones_and_so_is_a_part_time_cheat(
    stage: Stage, share: float
) -> None:
    """At version 0 the oldest weights are the right ones, so nothing is wrong yet."""
    cheats = {
        name: stage.site.start_node(name.replace(" ", "-"), program=[*PROGRAM, name, str(share)])
        for name in OLD
    }
    honest = [stage.site.start_node(name) for name in HONEST]
    stage.wait(quarantined(stage, cheats), "a hard verdict on every cheat")
    stage.site.close()
    state = ledger(stage)
    assert all(state.nodes[did].standing.quarantine is not None for did in cheats.values())
    assert all(state.nodes[did].standing.hard == 0 for did in honest)
