"""A machine states the contracts whose known vectors come out right on it, and says why not the others."""

import hashlib
import json

import numpy as np
import pytest
import torch

from archipel.cli.variants import VARIANTS as SHOWN
from archipel.engine.exact import arithmetic, backends, proof
from archipel.engine.exact import whole as whole_products
from archipel.engine.exact.proof import known_weights, prove
from archipel.engine.exact.variants import VARIANTS
from archipel.records.exact import CONTRACTS
from exact.vectors import FILE, whole
from exact.vectors import weights as oracle_weights

VECTORS = json.loads(FILE.read_text())


def test_the_names_in_records_are_those_that_the_tables_make() -> None:
    assert {name: each.identity for name, each in VARIANTS.items()} == CONTRACTS
    assert tuple(CONTRACTS) == SHOWN


def test_this_machine_proves_every_variant() -> None:
    assert prove().contracts == tuple(CONTRACTS.values())


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_known_answers_are_the_oracles(name: str) -> None:
    known = proof._KNOWN[name]
    (case,) = [
        each
        for each in VECTORS["models"]
        if (each["family"], each["variant"]) == (known.config.family, name)
    ]
    assert tuple(whole(case["prompt"])) == proof._PROMPT
    for how, expected in (("sampled", known.sampled), ("greedy", known.greedy)):
        told = case[how]
        assert (tuple(whole(told["tokens"])), told["logprobs"]) == expected
        assert (int(told["seed"]), told["rollout"]) == (proof._SEED, proof._ROLLOUT)
    state = known_weights(known.config)
    joined = b"".join(state[key].float().numpy().tobytes() for key in sorted(state))
    assert hashlib.sha256(joined).hexdigest() == VECTORS["weights sha256"][known.config.family]
    assert oracle_weights(known.config).keys() == state.keys()


def test_a_machine_that_adds_otherwise_states_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One unit in the last place of a norm is enough, in every variant."""
    right = arithmetic.inverse_rms

    def off(x: torch.Tensor, epsilon: torch.Tensor) -> torch.Tensor:
        found = right(x, epsilon)
        return torch.nextafter(found, torch.full_like(found, np.inf))

    monkeypatch.setattr(arithmetic, "inverse_rms", off)
    found = prove()
    assert found.contracts == ()
    assert len(found.faults) == len(CONTRACTS)
    assert all(fault.startswith("exact w") and "expected" in fault for fault in found.faults)


def test_a_machine_that_flushes_small_numbers_states_nothing() -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no such mode")
    try:
        found = prove()
    finally:
        torch.set_flush_denormal(False)
    assert found.contracts == ()
    assert all("flushes" in fault for fault in found.faults)


def test_other_tables_have_another_name_and_are_not_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(proof.CONTRACTS, "w7a15", "exact-1-w7a15-0000000000000000")
    found = prove()
    assert found.contracts == tuple(
        VARIANTS[name].identity for name in ("w7a8", "w12a13", "w13a15")
    )
    assert "tables" in found.faults[0]


def test_a_way_to_multiply_that_misses_its_vector_is_said_and_does_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = tuple(each for each in backends.proven(torch.device("cpu")) if each.name != "onednn")
    monkeypatch.setattr(backends, "proven", lambda device: left)
    found = prove()
    assert found.contracts == tuple(CONTRACTS.values())
    assert found.faults[0].startswith(
        "exact: the product onednn is absent or misses its known vector"
    )
    assert found.faults[0].endswith("float32, float64 are")


def test_a_backend_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (backends, whole_products):
        monkeypatch.setattr(module, "proven", lambda device: ())
    found = prove()
    assert found.contracts == ()
    assert all("no exact product" in fault for fault in found.faults)
