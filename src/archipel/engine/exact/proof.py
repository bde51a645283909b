"""Can this machine do the exact contract? Known vectors, computed here, of every variant.

Parts: `prove`, which a node asks before it states what it can. The vectors are some of tests/vectors/exact-1.json,
made by the contract's oracle: a whole model per variant, its weights from a formula of integers, its answers as
tokens and the bits of their log-probabilities. Tables are compared by the contract's identity; subnormal numbers
have to survive. Backends prove themselves (`backends.proven`, `whole.proven`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from archipel.engine.engine import LocalEngine
from archipel.engine.exact import backends, whole
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.variants import VARIANTS, Variant
from archipel.model.config import DecoderConfig, Llama3Scaling
from archipel.model.devices import float64_place
from archipel.model.directory import expected_shapes
from archipel.records.exact import CONTRACTS
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout

_PROMPT = (3, 17, 0, 47, 5, 5, 29, 11, 40)
_SEED, _ROLLOUT = 1234567890123456789, 3
_LLAMA = DecoderConfig(
    "llama", vocab_size=48, hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8,
    intermediate_size=56, max_position_embeddings=8192, rope_theta=500_000.0,
    rope_scaling=Llama3Scaling(8.0, 1.0, 4.0, 512),
)  # fmt: skip
_PLAIN = replace(_LLAMA, rope_theta=10_000.0, rope_scaling=None, tie_embeddings=False)
_MANY = 1 << 18
"""Enough numbers that every thread gets some."""


@dataclass(frozen=True)
class Proof:
    """What this machine can, and in a sentence each what it cannot."""

    contracts: tuple[str, ...]
    """Identities of the contracts whose vectors came out right, the cheapest first."""
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Known:
    """A model's answers: five tokens at temperature 0.8, three greedily."""

    config: DecoderConfig
    sampled: tuple[tuple[int, ...], str]
    """Tokens; bits of their log-probabilities, eight hexadecimal digits each."""
    greedy: tuple[tuple[int, ...], str]


_KNOWN: Mapping[str, _Known] = {
    "w7a8": _Known(
        replace(_PLAIN, family="qwen3"),
        ((25, 36, 3, 6, 35), "c03e8fc3 c06c9537 c06543c1 c012ce60 c079083b"),
        ((33, 44, 23), "c030b3e1 c024f9a9 c025754e"),
    ),
    "w12a13": _Known(
        replace(_LLAMA, family="qwen2", rope_theta=1_000_000.0, rope_scaling=None),
        ((30, 38, 5, 10, 37), "c009331d c06e911d c042f0c4 c0ad29da c014e5bb"),
        ((42, 42, 30), "c012a96a bfe5be1d bfd51ab4"),
    ),
    "w7a15": _Known(
        replace(_PLAIN, family="olmo2", norm_epsilon=1e-5),
        ((25, 34, 3, 5, 33), "c0568380 c057a3e6 c04cfc84 c01bc015 c00f5e8e"),
        ((18, 41, 30), "c0161c97 bff89c33 c021645f"),
    ),
    "w13a15": _Known(
        _LLAMA,
        ((23, 38, 2, 6, 31), "c08886a4 c0542434 c06e3198 c05a5981 c007e9d4"),
        ((15, 15, 15), "c00d11c3 bfbb32ad bfda3f03"),
    ),
}


def prove(device: str = "cpu") -> Proof:
    """Compute every known vector on this device; a fraction of a second."""
    faults = list(_flushed(torch.device(device)))
    proven = []
    for variant in VARIANTS.values() if not faults else ():
        fault = _fault(variant, torch.device(device))
        if fault is None:
            proven.append(variant.identity)
        else:
            faults.append(fault)
    if proven:
        faults += _slower(torch.device(device))
    return Proof(tuple(proven), tuple(faults))


def _slower(device: torch.device) -> Iterator[str]:
    """Ways to multiply that are not used here."""
    for kind, there, proven in (
        ("product", backends.BACKENDS, backends.proven(device)),
        ("whole product", whole.WAYS, whole.proven(device)),
    ):
        used = [each.name for each in proven]
        for name in (each.name for each in there if each.name not in used):
            yield (
                f"exact: the {kind} {name} is absent or misses its known vector on {device} and is not used; "
                f"{', '.join(used) or 'none'} {'is' if len(used) < 2 else 'are'}"
            )


def _flushed(device: torch.device) -> Iterator[str]:
    """Clause 1.1: subnormal numbers stay numbers."""
    if float64_place(device) != device:
        yield f"exact: {device} has no float64, in which the contract adds up; sample it on cpu"
        return
    for dtype, smallest in ((torch.float32, 2.0**-149), (torch.float64, 2.0**-1074)):
        there = torch.full((_MANY,), smallest, dtype=dtype).to(device)
        if not bool((there * 1.0 == smallest).all()) or not bool((there + there > 0).all()):
            yield (
                f"exact: {device} flushes the smallest {str(dtype).removeprefix('torch.')} numbers to zero, which "
                "the contract forbids; end what sets that mode in this process"
            )


def _fault(variant: Variant, device: torch.device) -> str | None:
    """What came out otherwise than it must."""
    name, known = variant.name, _KNOWN[variant.name]
    if variant.identity != CONTRACTS[name]:
        return (
            f"exact {name}: the tables made here are those of {variant.identity}, expected {CONTRACTS[name]}; "
            "the Python or NumPy of this machine computes integers wrongly"
        )
    try:
        sampled, greedy = _answers(variant, known.config, device)
    except (RuntimeError, NotImplementedError) as error:
        return f"exact {name}: cannot be computed on {device}: {str(error).splitlines()[0]:.300}"
    for how, found, expected in (
        ("sampled", sampled, known.sampled),
        ("greedy", greedy, known.greedy),
    ):
        if (found.tokens, _bits(found)) != expected:
            return (
                f"exact {name}: the known {how} answer came out as {found.tokens} ({_bits(found)}), expected "
                f"{expected[0]} ({expected[1]}); {device} does not round as IEEE 754 asks"
            )
    return None


def _answers(
    variant: Variant, config: DecoderConfig, device: torch.device
) -> tuple[Rollout, Rollout]:
    arithmetic = ExactArithmetic(config, variant, device)
    engine = LocalEngine(config, device=str(device), arithmetic=arithmetic)
    engine.load(known_weights(config))
    requests = [
        Request(
            key=str(number), prompt=_PROMPT, seed=_SEED, num_rollouts=_ROLLOUT + 1,
            max_new_tokens=number, temperature=temperature,
        )
        for number, temperature in ((5, 0.8), (3, 0.0))
    ]  # fmt: skip
    sampled, greedy = engine.generate(requests)
    return sampled[_ROLLOUT], greedy[_ROLLOUT]


def _bits(rollout: Rollout) -> str:
    numbers = np.array(rollout.logprobs, dtype=np.float32)
    return " ".join(f"{bits:08x}" for bits in numbers.view(np.uint32).tolist())


def known_weights(config: DecoderConfig) -> dict[str, Tensor]:
    """Tensor number n in order of names takes the words from n * 2^20 on."""
    state = {}
    for n, (name, shape) in enumerate(sorted(expected_shapes(config).items())):
        words = _mixed(n << 20, int(np.prod(shape)))
        is_norm = name.endswith("norm.weight")
        made = (
            1 + ((words >> 26) - 32) / 128
            if is_norm
            else ((words >> 24) - 128) / 2.0 ** (8 + (words & 3))
        )
        state[name] = torch.from_numpy(made.astype(np.float32).reshape(shape)).bfloat16()
    return state


def _mixed(start: int, count: int) -> NDArray[np.int64]:
    """Words of 32 bits that look random, of the integers from `start` on."""
    h = (np.arange(start, start + count, dtype=np.uint64) * np.uint64(2654435761)) % 2**32
    h ^= h >> np.uint64(15)
    h = h * np.uint64(2246822519) % 2**32
    return (h ^ (h >> np.uint64(13))).astype(np.int64)
