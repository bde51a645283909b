"""A version of 10^12 parameters is joined, read, chosen from and planned in the memory of a small program."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from archipel import source_environment
from archipel.model.config_files import InvalidModel
from archipel.model.weight_files import SINGLE_FILE, stored_tensors
from archipel.records.weight_parts import MAX_INDEX_BYTES
from archipel.work.part_plan import CannotPart, Planned, goal_of, planned, ranges_of, size_of
from work import trillion

MAX_GROWN_BYTES = 64 * 2**20
"""Beyond what the program takes before it begins; 2 TB of weights have 13 MB of names and digests."""


@pytest.mark.slow
def test_the_manifest_of_a_trillion_parameters_is_joined_and_read_part_by_part(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, trillion.__file__, str(tmp_path)],
        env={"PATH": os.defpath, **source_environment()},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert abs(told["weights"] / 1.04e12 - 1) < 0.02, "the published count"
    assert told["tensors"] == sum(1 for _ in trillion.forms())
    assert told["grown_bytes"] < MAX_GROWN_BYTES, told
    assert not told["has_torch"]
    assert told["index_bytes"] < MAX_INDEX_BYTES
    assert told["stage_tensors"] == 8 * len(trillion.layer(40))
    assert told["stage_bytes"] < 2 * told["weights"] * 9 / 61, "a stage and little beside it"
    assert 0 < told["head_parts_of_a_rank"] < told["head_parts"]


@pytest.mark.slow
def test_two_terabytes_in_a_sparse_file_are_cut_into_parts_that_cover_it_once_without_reading(
    tmp_path: Path,
) -> None:
    header, at = {}, 0
    for name, shape in trillion.forms():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size_of(shape)]}
        at += size_of(shape)
    told = json.dumps(header).encode()
    path = tmp_path / SINGLE_FILE
    with path.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        file.truncate(8 + len(told) + at)
    assert path.stat().st_size > 2 * 10**12
    assert path.stat().st_blocks * 512 < 2**25, "nothing of it lies on the disk"
    stored = stored_tensors(tmp_path)
    parts = list(planned(trillion.forms(), goal_of(at, trillion.PARTS), trillion.MOST))
    ranges = [each for part in parts for each in ranges_of(part, stored)]
    assert all(one[2] == other[1] for one, other in pairwise(ranges))
    assert (ranges[0][1], ranges[-1][2]) == (8 + len(told), path.stat().st_size)
    assert [part.num_bytes for part in parts] == [
        sum(stop - start for _, start, stop in ranges_of(part, stored)) for part in parts
    ]


def test_what_lies_otherwise_than_a_file_says_is_refused(tmp_path: Path) -> None:
    def write(entry: dict[str, object]) -> None:
        told = json.dumps({"w": entry}).encode()
        data = len(told).to_bytes(8, "little") + told + bytes(8)
        (tmp_path / SINGLE_FILE).write_bytes(data)

    write({"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]})
    stored = stored_tensors(tmp_path)
    ((_, start, stop),) = ranges_of(Planned((("w", (2, 2)),), (1, 2)), stored)
    assert stop - start == 4
    assert stop == (tmp_path / SINGLE_FILE).stat().st_size
    with pytest.raises(CannotPart, match="does not lie there"):
        ranges_of(Planned((("w", (4,)),)), stored)
    write({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]})
    with pytest.raises(InvalidModel, match="expected BF16"):
        stored_tensors(tmp_path)
