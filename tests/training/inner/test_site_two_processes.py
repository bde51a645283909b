"""Two processes of one site are one member."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from archipel.training.checkpoint import read_latest
from training.inner.site_run import WAYS, works

torch.set_num_threads(1)
SCRIPT = Path(__file__).with_name("site_run.py")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes wrote."""
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as held:
        pair = [
            held.enter_context(subprocess.Popen([sys.executable, str(SCRIPT), str(folder), rank]))
            for rank in ("0", "1")
        ]
        held.callback(lambda: [each.kill() for each in pair])
        assert [each.wait(300) for each in pair] == [0, 0]
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_make_the_pseudo_gradient_of_one(folder, way):
    alone = works(folder / "one", way)
    for rank in (0, 1):
        with np.load(folder / f"{way}.{rank}.npz") as together:
            assert set(together) == set(alone)
            for name, expected in alone.items():
                np.testing.assert_allclose(together[name], expected, rtol=1e-3, atol=1e-5)
    one, two = (read_latest(folder / side / way) for side in ("one", "two"))
    assert one.facts == two.facts
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(two.tensors[name], tensor, rtol=1e-3, atol=1e-5)
