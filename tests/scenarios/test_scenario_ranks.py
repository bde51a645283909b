"""An update that several processes share, on one host and on two, one of which is killed: the same weights to the bit."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from archipel.bench.site import PROGRAM
from archipel.records.recipe import Recipe
from archipel.training.checkpoint_parts import parted_numbers
from ports import free_port
from stage import Outcome, Stage
from tiny import SECRET, tiny_recipe

pytestmark = pytest.mark.timeout(900)
MakeStage = Callable[..., Stage]
VERSIONS = 4
LIMIT_S = 300.0
"""torchrun and its ranks each load the tensor library; in turns, where processors are few."""
TWO = ("--ranks", "2")
PARTS = 4


def recipe() -> Recipe:
    """Every second version is kept, in parts and, for other machines, in one file."""
    told = tiny_recipe(VERSIONS, 0).model_dump(mode="json", exclude_none=True)
    told["run"]["checkpoint_every"] = 2
    told["optimiser"]["micro_batch_tokens"] = 64
    return Recipe.model_validate(told)


def open_shared(
    stage: Stage, options: Sequence[str], parts: int | None = None, node: Sequence[str] = ()
) -> None:
    """options, node: of the update's command, and of the node's."""
    run = recipe().run.model_copy(update={"parts": parts})
    stage.recipe = recipe().model_copy(update={"run": run})
    stage.site.start_lab()
    stage.site.keep_secret("update", "secret-order", SECRET)
    stage.site.start_update(options=options)
    stage.site.open_run(stage.recipe, stage._start, ("update",))
    stage.site.start_node("node", node)


def lend_second_host(stage: Stage, options: Sequence[str] = ()) -> tuple[str, ...]:
    """Start it; returns the options by which the first one meets it."""
    meeting = ("--hosts", "2", "--rendezvous", f"127.0.0.1:{free_port()}", *options)
    home = str(stage.site.home("update"))
    words = ["update", "ranks", *meeting, "--host-rank", "1", "--home", home]
    stage.site._start("second", words, PROGRAM)
    return meeting


def rank(number: int) -> int | None:
    """Process id of a rank of this user's that this test started, by its number in the site."""
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            told = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        is_rank = b"archipel.work.ranks" in words and b"torch.distributed.run" not in words
        if (
            is_rank
            and f"RANK={number}".encode() in told
            and str(HOME[0]).encode() in b"".join(words)
        ):
            return int(process.name)
    return None


HOME: list[Path] = []


def kill_rank(stage: Stage, number: int) -> None:
    HOME[:] = [stage.site.home("update")]
    process = rank(number)
    assert process is not None, "no such rank is running"
    os.kill(process, signal.SIGKILL)


def finished(stage: Stage) -> Outcome:
    stage.site.wait_until(lambda: stage.version() >= VERSIONS, "the end", LIMIT_S)
    return stage.finished()


def kept(stage: Stage) -> list[int]:
    (folder,) = [each.parent for each in stage.site.home("update").glob("memory/*/outbox-*")][:1]
    return parted_numbers(folder)


@pytest.fixture(scope="module")
def together(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Two ranks of one host; nothing happens."""
    with Stage(tmp_path_factory.mktemp("together"), start, VERSIONS, staleness=0) as stage:
        open_shared(stage, TWO)
        outcome = finished(stage)
        assert kept(stage) == [2, 4]
        return outcome


@pytest.mark.slow
def test_a_rank_that_is_killed_takes_the_site_down_and_the_site_comes_back_to_the_same_weights(
    make_stage: MakeStage, together: Outcome
) -> None:
    stage = make_stage(VERSIONS)
    open_shared(stage, TWO)
    stage.site.wait_until(lambda: stage.version() >= 2, "version 2", LIMIT_S)
    kill_rank(stage, 1)
    assert finished(stage).policies == together.policies
    assert "SIGKILL" in (stage.site.home("update") / "child.log").read_text()


@pytest.mark.slow
def test_ranks_of_two_hosts_meet_and_meet_again_when_one_of_the_second_is_killed(
    make_stage: MakeStage, together: Outcome
) -> None:
    stage = make_stage(VERSIONS)
    open_shared(stage, lend_second_host(stage))
    stage.site.wait_until(lambda: stage.version() >= 2, "version 2", LIMIT_S)
    kill_rank(stage, 1)
    assert finished(stage).policies == together.policies


@pytest.mark.slow
def test_ranks_publish_their_own_parts_of_each_version_and_a_node_goes_on_from_them(
    make_stage: MakeStage, together: Outcome
) -> None:
    stage = make_stage(VERSIONS)
    open_shared(stage, TWO, parts=PARTS)
    outcome = finished(stage)
    assert outcome.policies == together.policies
    assert {made.manifest.parts for made in outcome.versions} == {PARTS}
