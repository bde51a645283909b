"""Two and four ranks, on one host and on two, learn as one process does, and go on from each other's checkpoints."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from archipel.training.checkpoint_parts import parted_numbers
from training import ranks_run
from training.apart import assert_near, assert_same
from training.ranks_run import VERSIONS

pytestmark = pytest.mark.timeout(900)  # seven processes, each with the tensor library
SCRIPT = Path(ranks_run.__file__)
LIMIT_S = 600
RUNS = tuple(ranks_run.RUNS)


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> Path:
    """One process; two ranks, which also go on where it stopped; four on two hosts, which go on where those did."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "1").mkdir()
    ranks_run.deeds(folder / "1", None)
    site(folder / "2", 2, 1, folder / "1")
    site(folder / "4", 4, 2, folder / "2")
    for name in RUNS:
        ranks_run.go_on(folder / "4" / name, folder / "1" / f"{name}-after")
    return folder


def site(folder: Path, world: int, hosts: int, source: Path) -> None:
    folder.mkdir()
    with ExitStack() as held:
        words = [sys.executable, str(SCRIPT), str(folder)]
        ranks = [
            held.enter_context(
                subprocess.Popen([*words, *map(str, (rank, world, hosts)), str(source)])
            )
            for rank in range(world)
        ]
        held.callback(lambda: [each.kill() for each in ranks])
        assert [each.wait(LIMIT_S) for each in ranks] == [0] * world
    told = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(world)]
    assert told == ["done"] * world


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("world", ["1", "2", "4"])
def test_a_site_goes_on_from_its_own_checkpoint_to_the_same_bits(sites, name, world):
    assert_same(sites / world / name, sites / world / f"{name}-again")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_any_number_of_ranks_learns_what_one_process_does_up_to_the_order_of_sums(sites, name):
    for world in ("2", "4"):
        assert_near(sites / world / name, sites / "1" / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("world", "before"), [("2", "1"), ("4", "2"), ("1", "4")])
def test_any_number_of_ranks_goes_on_where_another_number_stopped(sites, name, world, before):
    assert_near(sites / world / f"{name}-after", sites / before / name)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("world", ["2", "4"])
def test_a_step_of_two_rows_at_most_is_the_same_to_the_bit_on_any_number_of_ranks(
    sites, world, rows
):
    """One row a rank, and a sum of two numbers has one order."""
    assert_same(sites / world / f"step-{rows}", sites / "1" / f"step-{rows}")


@pytest.mark.slow
def test_each_rank_wrote_its_own_part_and_of_copies_one_host_alone(sites):
    def parts(world: str, name: str) -> list[str]:
        (number,) = parted_numbers(sites / world / name / "kept")
        assert number == VERSIONS - 1
        folder = sites / world / name / "kept" / f"{number:09d}.parts"
        return sorted(each.name for each in folder.glob("*.safetensors"))

    assert parts("2", "run") == ["part-00000.safetensors", "part-00001.safetensors"]
    assert len(parts("4", "run")) == 4
    assert parts("4", "adapter") == ["part-00000.safetensors", "part-00001.safetensors"]


@pytest.mark.slow
def test_what_ranks_keep_holds_no_pickle(sites):
    for path in (sites / "4").rglob("*.parts/*"):
        assert path.suffix in (".safetensors", ".json")
        assert path.suffix == ".json" or path.read_bytes()[8:9] == b"{"
