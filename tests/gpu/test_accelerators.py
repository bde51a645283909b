"""Every accelerator of this machine computes what a run needs; skipped where there is none, and no gate.

Needs pytest, torch, numpy, safetensors, tokenizers, pydantic and zstandard, and no more. From the repository's root:
`PYTHONPATH=src python -m pytest -c /dev/null --rootdir=. --confcutdir=tests/gpu -q -s tests/gpu`.
"""

import json
import sys
from collections.abc import Callable

import pytest
import torch

from archipel.bench.contestants import DTYPES
from archipel.bench.device import ACCELERATED
from archipel.bench.device_checks import Finding, engine_findings, exact_finding, trainer_findings
from archipel.bench.device_speed import sampling_speed, training_speed
from archipel.model.config import FAMILIES
from archipel.model.devices import about, devices_here, ready_device

FOUND = devices_here()[1:]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not FOUND, reason=f"torch {torch.__version__} finds no accelerator here"),
]
on_each = pytest.mark.parametrize("device", FOUND or ["none"])


@pytest.fixture(autouse=True)
def _sums_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the program says it to itself before it loads the library."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def tell(what: object) -> None:
    print(json.dumps(what, default=vars), file=sys.stderr)


def require(findings: list[Finding]) -> None:
    for each in findings:
        tell(each)
    lost = [f"{each.name}: {each.said}" for each in findings if each.needed and not each.held]
    assert not lost, lost


@on_each
def test_the_device_says_what_it_is(device: str) -> None:
    tell({"device": device, "about": about(ready_device(device))})


@on_each
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_engine_agrees_with_the_trainers_network(device: str, family: str, dtype: str) -> None:
    ready_device(device)
    require(list(engine_findings(device, family, dtype)))


@on_each
def test_a_run_made_twice_gives_the_same_weights_and_the_processors_update(device: str) -> None:
    require(list(trainer_findings(device, 4)))


@on_each
def test_the_exact_contracts_are_proven_or_say_why_not(device: str) -> None:
    require([exact_finding(device)])


@on_each
@pytest.mark.parametrize("model", ACCELERATED.models)
def test_the_speed_is_told(device: str, model: str) -> None:
    ready_device(device)
    measured: list[Callable[[], object]] = [
        *(lambda d=dtype: sampling_speed(device, model, d, ACCELERATED.batch) for dtype in DTYPES),
        lambda: training_speed(device, model, ACCELERATED.batch),
    ]
    for measure in measured:
        tell(measure())
