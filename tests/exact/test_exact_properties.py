"""One answer for each request: whatever runs beside it, on how many threads, with which instructions."""

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.exact import backends
from archipel.engine.exact.backends import BACKENDS, Backend, proven
from archipel.engine.exact.variants import VARIANTS
from archipel.model.config import EXACT_FAMILIES, Family
from archipel.model.manifest import describe
from archipel.model.versions import apply_delta, decode_anchor, encode_anchor, encode_delta
from archipel.records.rollouts import Rollout
from exact.exact_models import (
    CPU,
    EDGES,
    FEW,
    WORLDS,
    digest_of,
    exact_engine,
    mixed_requests,
    numbers,
    trained,
    world,
)

CHILD = Path(__file__).parent / "exact_child.py"
SRC = Path(__file__).parents[2] / "src"
CAPS = {
    "all of the machine": {},
    "no vectors beyond SSE": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
    "AVX": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX", "MKL_CBWR": "AVX",
    },
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2",
    },
}  # fmt: skip
"""Instructions that a child process may use."""
LIMIT_S = 240


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def alone(engine: LocalEngine, requests: list[Request]) -> list[tuple[Rollout, ...]]:
    return [engine.generate([request])[0] for request in requests]


def in_any_order(engine: LocalEngine, requests: list[Request], seed: int) -> list[list[Rollout]]:
    """Requests come one by one between steps, with others that are cancelled before they end."""
    rng = random.Random(seed)
    waiting, owners = list(enumerate(requests)), {}
    rng.shuffle(waiting)
    found: dict[tuple[int, int], Rollout] = {}
    doomed = []
    while waiting or engine.has_work:
        if waiting and rng.random() < 0.4:
            index, request = waiting.pop()
            owners[engine.add(request)] = index
            doomed.append(engine.add(replace(request, key="doomed", seed=7, max_new_tokens=12)))
        if doomed and rng.random() < 0.3:
            engine.cancel(doomed.pop(0))
        for (ticket, rollout), ended in engine.step().ended.items():
            if ticket in owners:
                found[owners[ticket], rollout] = ended
    return [[found[i, n] for n in range(r.num_rollouts)] for i, r in enumerate(requests)]


@pytest.mark.parametrize(
    ("family", "variant"),
    [*FEW[::2], *(pytest.param(*each, marks=pytest.mark.slow) for each in FEW[1::2])],
)
def test_alone_in_any_company_and_in_any_order_are_one(family: Family, variant: str) -> None:
    config, state = world(family)
    requests = mixed_requests(64, (1, 7, 9, 130))
    right = digest_of(alone(exact_engine(config, state, variant), requests))
    small = EngineLimits(max_slots=2, max_prefill_tokens=16)
    for number, engine in enumerate(
        (
            exact_engine(config, state, variant),
            exact_engine(config, state, variant, compact=True, limits=small),
        )
    ):
        torch.set_num_threads(1 + number)
        assert digest_of(engine.generate(requests)) == right
        assert digest_of(engine.generate(requests[::-1])[::-1]) == right
        assert digest_of(in_any_order(engine, requests, seed=number)) == right


@pytest.mark.slow
@pytest.mark.parametrize("taught", [False, True], ids=["random", "trained"])
@pytest.mark.parametrize(("family", "variant"), WORLDS)
def test_every_edge_of_windows_in_any_company_order_and_threads(
    family: Family, variant: str, taught: bool
) -> None:
    config, state = trained(family) if taught else world(family)
    requests = [replace(r, max_new_tokens=16) for r in mixed_requests(64, EDGES)]
    right = digest_of(alone(exact_engine(config, state, variant), requests))
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        engine = exact_engine(config, state, variant, compact=threads == 2)
        assert digest_of(engine.generate(requests)) == right
        assert digest_of(in_any_order(engine, requests, seed=threads)) == right


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda each: each.name)
def test_every_backend_gives_the_same(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    config, state = world("llama")
    requests = mixed_requests(64, (1, 9))
    right = digest_of(exact_engine(config, state, "w7a15").generate(requests))
    if backend not in proven(CPU):
        pytest.skip("this machine has no such product")
    monkeypatch.setattr(backends, "proven", lambda device: (backend,))
    assert digest_of(exact_engine(config, state, "w7a15").generate(requests)) == right


@pytest.fixture(scope="module", params=["random", "trained"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights for every child, who would train others on other instructions."""
    folder = tmp_path_factory.mktemp(request.param)
    for family in EXACT_FAMILIES:
        _, state = trained(family) if request.param == "trained" else world(family)
        save_file(state, folder / f"{family}.safetensors")
    return folder


def child(folder: Path, caps: str) -> list[str]:
    """What it printed, sampled with these instructions."""
    command = [sys.executable, str(CHILD), str(folder)]
    command += [f"{family}-{variant}" for family in EXACT_FAMILIES for variant in VARIANTS]
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, check=True,
        env={"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "HOME": str(folder), **CAPS[caps]},
    )  # fmt: skip
    return found.stdout.splitlines()


@pytest.fixture(scope="module")
def uncapped(weights: Path) -> list[str]:
    lines = child(weights, "all of the machine")
    assert len(lines) == len(EXACT_FAMILIES) * len(VARIANTS)
    assert not any("differs" in line for line in lines)
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("caps", list(CAPS)[1:])
def test_capped_instruction_sets_give_the_same_bits(
    weights: Path, uncapped: list[str], caps: str
) -> None:
    assert child(weights, caps) == uncapped


def test_a_policy_that_came_by_deltas_becomes_the_same_integers_as_a_fresh_one() -> None:
    config, old = world("qwen2")
    generator = torch.Generator().manual_seed(1)
    new = {
        name: torch.where(torch.rand(w.shape, generator=generator) < 0.1, w * -1.125, w)
        for name, w in old.items()
    }
    first = describe(old, 0, None)
    second = describe(new, 1, first.state)
    came = apply_delta(old, first, encode_delta(old, new, first, second), second)
    fresh = decode_anchor(encode_anchor(new), second)
    held = {name: w.float() for name, w in new.items()}  # as a trainer holds bf16 weights
    for variant in ("w7a8", "w13a15"):
        arithmetic = numbers(config, variant)
        for name, weight in fresh.items():
            if weight.dim() == 2:
                made = [arithmetic.projection(state[name], None) for state in (fresh, came, held)]
                rows = torch.eye(weight.shape[1])[:7]
                outs = [each(arithmetic.fed(rows, None)) for each in made]
                assert torch.equal(outs[0], outs[1])
                assert torch.equal(outs[0], outs[2])
        digests = {
            digest_of(exact_engine(config, state, variant).generate(mixed_requests(64, (5, 9))))
            for state in (fresh, came, held)
        }
        assert len(digests) == 1
