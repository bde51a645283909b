"""Work that is confined as the program confines it finds the CUDA device and computes there.

Where it does not, the last two say what keeps the driver from starting: each refused call by itself, and the fence around
files by itself, with what more would let it in.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from archipel.cli.doors import child_environment
from gpu import confined

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is confined here"),
]
LIMIT_S = 120
AT_ONCE = 8


def ended(folder: Path, *words: str) -> str:
    """What it said at its end; nothing where the device was there."""
    run = subprocess.run(
        [sys.executable, confined.__file__, DEVICE, str(folder), *words],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    said = run.stderr.strip().splitlines() or [f"ended with {run.returncode}"]
    return "" if run.returncode == 0 else said[-1]


def all_of(folder: Path, what: str, names: tuple[str, ...]) -> dict[str, str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = pool.map(lambda name: ended(folder, what, name), names)
        return dict(zip(names, said, strict=True))


@pytest.mark.parametrize("role", confined.ROLES)
def test_a_confined_process_computes_on_the_device(tmp_path: Path, role: str) -> None:
    assert ended(tmp_path, "role", role) == ""


def test_no_refused_call_by_itself_keeps_the_driver_from_starting(tmp_path: Path) -> None:
    said = all_of(tmp_path, "call", confined.CALLS)
    assert {name: fault for name, fault in said.items() if fault} == {}


def test_the_fence_by_itself_does_not_keep_the_driver_from_starting(tmp_path: Path) -> None:
    fault = ended(tmp_path, "fence")
    if not fault:
        return
    said = all_of(tmp_path, "fence", tuple(confined.GRANTS))
    pytest.fail(f"{fault}; it starts with one of: {[name for name in said if not said[name]]}")
