"""A whole run on a CUDA device, of real processes: learner and node compute there, and who is killed comes back to the same
weights to the bit; of two ranks as of one process.

With two GPUs ranks are those of one host. With one they are of two hosts, which this machine plays both: each has one rank,
on that GPU, and they talk over loopback by NCCL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from archipel.cli.doors import child_environment
from archipel.node.ranks import LOOPBACK
from scenarios import test_scenario_ranks as shared
from scenarios.test_scenario_ranks import VERSIONS
from stage import Outcome, Stage
from tiny import write_start

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
ON = ("--device", DEVICE)
OVER_LOOPBACK = {"GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


@contextmanager
def staged(folder: Path, start: Path) -> Iterator[Stage]:
    with Stage(folder, start, VERSIONS, staleness=0) as stage:
        stage.site._environment |= child_environment() | OVER_LOOPBACK
        yield stage


def open_two(stage: Stage) -> None:
    if torch.cuda.device_count() > 1:
        shared.open_shared(stage, (*shared.TWO, *ON), node=ON)
        return
    stage.site._environment["NCCL_HOSTID"] = "second"
    meeting = shared.lend_second_host(stage, ON)
    stage.site._environment["NCCL_HOSTID"] = "first"
    shared.open_shared(stage, meeting, node=ON)


def learned(stage: Stage, version: int) -> None:
    what = f"version {version}"
    stage.site.wait_until(lambda: stage.version() >= version, what, shared.LIMIT_S)


@pytest.fixture(scope="module")
def alone(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One process learns; nothing happens."""
    with staged(tmp_path_factory.mktemp("alone"), start) as stage:
        shared.open_shared(stage, ON, node=ON)
        return shared.finished(stage)


@pytest.fixture(scope="module")
def together(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Two ranks learn; nothing happens."""
    with staged(tmp_path_factory.mktemp("together"), start) as stage:
        open_two(stage)
        outcome = shared.finished(stage)
        assert shared.kept(stage) == [2, 4]
        return outcome


def test_a_learner_that_is_killed_comes_back_to_the_same_weights(
    tmp_path: Path, start: Path, alone: Outcome
) -> None:
    with staged(tmp_path, start) as stage:
        shared.open_shared(stage, ON, node=ON)
        learned(stage, 2)
        stage.kill_child("update")
        assert shared.finished(stage).policies == alone.policies


def test_a_rank_that_is_killed_takes_the_site_down_and_the_site_comes_back_to_the_same_weights(
    tmp_path: Path, start: Path, together: Outcome
) -> None:
    with staged(tmp_path, start) as stage:
        open_two(stage)
        learned(stage, 2)
        shared.kill_rank(stage, 1)
        assert shared.finished(stage).policies == together.policies


def test_two_ranks_begin_from_the_weights_that_one_process_begins_from(
    alone: Outcome, together: Outcome
) -> None:
    assert together.policies[0] == alone.policies[0]
    told = zip(alone.versions, together.versions, strict=True)
    print([one.policy == two.policy for one, two in told])
