"""Ranks of an update on a CUDA device: they learn as one process does, and go on from what they kept, there and elsewhere.

With as many GPUs as ranks each has one of its own. With fewer, ranks share them: NCCL refuses two ranks of one host on
one GPU, so each is told to be a host of its own (`NCCL_HOSTID`), and they talk over loopback as hosts do over a network.
What is measured is told; `-s` shows it.
"""

import json
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import torch

from archipel.cli.doors import child_environment
from archipel.node.ranks import NEAR
from archipel.training.checkpoint_parts import parted_numbers
from gpu import device_rank
from training.apart import assert_near, assert_same
from training.ranks_run import RUNS, VERSIONS

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SCRIPT = Path(device_rank.__file__)
LIMIT_S = 240.0
"""Of a site: each rank loads the tensor library and the device's own, and shares that device in turns."""
WORLDS = {"alone": (0, 1), "one": (1, 1), "two": (2, 1), "four": (4, 2)}
"""Name of a site -> (ranks, 0 for a process of no site; hosts)."""
BY_RANKS = ("two", "four")
NAMES = tuple(RUNS)


class Started:
    """The ranks of one deed of a site, ended with the test that started them."""

    def __init__(
        self, held: ExitStack, deed: str, folder: Path, source: Path | None = None
    ) -> None:
        """folder: named as the site."""
        self.folder = folder
        folder.mkdir(parents=True)
        world, hosts = WORLDS[folder.name]
        words = [sys.executable, str(SCRIPT), deed, str(folder), device_of(folder)]
        rest = [] if source is None else [str(source)]
        self._ranks = [
            held.enter_context(
                subprocess.Popen(
                    [*words, str(rank), str(world), str(hosts), *rest],
                    env=child_environment() | surroundings(rank, world),
                )
            )
            for rank in range(max(1, world))
        ]
        held.callback(self.kill)

    def kill(self) -> None:
        for each in self._ranks:
            each.send_signal(signal.SIGKILL)
        for each in self._ranks:
            each.wait()

    def said(self, expected: object = None) -> list[dict[str, int]]:
        """What each rank said at its end; expected: it says that and goes on."""
        deadline = time.monotonic() + LIMIT_S
        while len(told := self._told()) < len(self._ranks):
            ended = [each.poll() for each in self._ranks]
            assert not any(ended), f"ranks of {self.folder} ended with {ended}"
            assert time.monotonic() < deadline, f"{self.folder} took more than {LIMIT_S:.0f} s"
            time.sleep(0.1)
        if expected is None:
            assert [each.wait(LIMIT_S) for each in self._ranks] == [0] * len(self._ranks)
        else:
            assert told == [expected] * len(told)
        return told

    def _told(self) -> list[dict[str, int]]:
        told = []
        for path in sorted(self.folder.glob("rank*.json")):
            with suppress(ValueError):  # it is being written
                told.append(json.loads(path.read_text()))
        return told


def device_of(folder: Path) -> str:
    return "cpu" if "processor" in folder.parts else DEVICE


def surroundings(rank: int, world: int) -> dict[str, str]:
    """What torchrun and the program tell a rank besides; which host it is, where ranks share a GPU."""
    gpus = max(1, torch.cuda.device_count())
    has_own = world <= gpus
    told = {"LOCAL_RANK": str(rank if has_own else rank % gpus), **NEAR}
    return told if has_own else told | {"NCCL_HOSTID": f"rank-{rank}"}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On the device a process of no site, sites of one, two and four ranks; on the processor a process of no site. Who
    may goes on from what another site kept: two from one process, four from two, the device from the processor.
    """
    folder = tmp_path_factory.mktemp("device")
    with ExitStack() as held:
        at_once = [
            Started(held, "learn", folder / "processor" / "alone"),
            Started(held, "learn", folder / "alone"),
            Started(held, "learn", folder / "one"),
        ]
        for each in at_once:
            each.said()
        Started(held, "learn", folder / "two", folder / "alone").said()
        Started(held, "learn", folder / "four", folder / "two").said()
        last = [
            Started(held, "go_on", folder / "of-two" / "alone", folder / "two"),
            Started(held, "go_on", folder / "of-processor" / "two", folder / "processor" / "alone"),
            Started(held, "go_on", folder / "processor" / "of-two" / "alone", folder / "two"),
        ]
        for each in last:
            each.said()
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("site", WORLDS)
def test_a_site_goes_on_from_its_own_checkpoint_to_the_same_bits(sites, name, site):
    assert_same(sites / site / name, sites / site / f"{name}-again")


@pytest.mark.parametrize("name", [*NAMES, "step-1", "step-2"])
def test_one_rank_learns_what_a_process_of_no_site_does_to_the_bit(sites, name):
    assert_same(sites / "one" / name, sites / "alone" / name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("site", BY_RANKS)
def test_any_number_of_ranks_learns_what_one_process_does_up_to_the_order_of_sums(
    sites, name, site
):
    assert_near(sites / site / name, sites / "alone" / name)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("site", BY_RANKS)
def test_a_step_of_two_rows_at_most_is_the_same_to_the_bit_on_any_number_of_ranks(
    sites, site, rows
):
    assert_same(sites / site / f"step-{rows}", sites / "alone" / f"step-{rows}")


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_ranks_goes_on_where_another_number_stopped(sites, name):
    assert_near(sites / "two" / f"{name}-after", sites / "alone" / name)
    assert_near(sites / "four" / f"{name}-after", sites / "two" / name)
    assert_near(sites / "of-two" / "alone" / name, sites / "two" / name)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_device_kept_goes_on_on_a_processor_and_the_other_way(sites, name):
    assert_near(sites / "processor" / "of-two" / "alone" / name, sites / "two" / name)
    assert_near(sites / "of-processor" / "two" / name, sites / "processor" / "alone" / name)


def test_each_rank_wrote_its_own_part_and_of_copies_one_host_alone(sites):
    def parts(site: str, name: str) -> int:
        (number,) = parted_numbers(sites / site / name / "kept")
        assert number == VERSIONS - 1
        kept = sites / site / name / "kept" / f"{number:09d}.parts"
        return len(list(kept.glob("*.safetensors")))

    assert [parts("two", "run"), parts("four", "run"), parts("four", "adapter")] == [2, 4, 2]


def test_ranks_that_are_killed_in_an_update_go_on_from_what_they_kept_to_the_same_bits(
    sites, tmp_path
):
    with ExitStack() as held:
        before = Started(held, "stop", tmp_path / "two")
        before.said("kept")
        before.kill()
        Started(held, "go_on", tmp_path / "again" / "two", before.folder).said()
    for name in NAMES:
        assert_same(tmp_path / "again" / "two" / name, sites / "two" / name)


def test_each_of_two_ranks_holds_about_half_of_what_a_process_alone_holds(tmp_path):
    with ExitStack() as held:
        weighed = {
            name: Started(held, "weigh", tmp_path / name).said() for name in ("alone", "two")
        }
    for name, ranks in weighed.items():
        print(json.dumps({"42M weights in float32": name, "ranks": ranks}), file=sys.stderr)
    (alone,) = weighed["alone"]
    for each in weighed["two"]:
        assert each["held"] <= 0.6 * alone["held"]
