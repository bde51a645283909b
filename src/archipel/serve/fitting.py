"""Whether a model fits the memory that there is, before any of it is loaded; if not, what would.

Parts: `Need` (what it takes), `available_bytes` (what there is), `check_fits`. Law: what is offered instead was computed by
the function that refused.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from archipel.engine.capacity import EngineLimits
from archipel.engine.quantised.arithmetic import WEIGHTS, Weights
from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel
from archipel.model.directory import expected_shapes

BITS: dict[Weights, float] = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 5}
"""Of a weight of a linear layer; of 4 bits with the scale and zero of its group."""
_COPIES = 12
"""Bytes for each weight of the largest matrix while it is laid out: fp32, what it becomes, and what lies between."""
_WORKING = 150_000_000
"""What a server has beside its model: activations, the tensor library's own, tokenizer, questions."""
_LEAST_CACHE = 50_000_000
_EMBEDDING = "model.embed_tokens.weight"


@dataclass(frozen=True)
class Need:
    """Bytes that serving a model takes."""

    weights: int
    cache: int
    working: int

    @property
    def total(self) -> int:
        """All at once."""
        return self.weights + self.cache + self.working


def need(config: DecoderConfig, weights: Weights, limits: EngineLimits) -> Need:
    """Of a model whose weights are held so."""
    shapes = expected_shapes(config)
    matrices = {
        name: prod(shape)
        for name, shape in shapes.items()
        if len(shape) == 2 and name != _EMBEDDING
    }
    head = "lm_head.weight"
    if config.tie_embeddings:
        matrices[head] = prod(shapes[_EMBEDDING])
    held = sum(
        count * (8 if weights == "int4" and name == head else BITS[weights]) / 8
        for name, count in matrices.items()
    )
    embedding = prod(shapes[_EMBEDDING]) * (4 if weights == "float32" else 2)
    vectors = sum(prod(shape) * 4 for shape in shapes.values() if len(shape) == 1)
    working = _WORKING + _COPIES * max(matrices.values())
    return Need(round(held) + embedding + vectors, limits.max_cache_bytes, working)


def check_fits(
    config: DecoderConfig, weights: Weights, limits: EngineLimits, available: int
) -> None:
    """Refuse a model that does not fit.

    available: bytes.

    Raises:
        InvalidModel: with what it takes, what there is, and what would fit.
    """
    wanted = need(config, weights, limits)
    if wanted.total <= available:
        return
    offers = list(_offers(config, weights, limits, available))
    rest = ", or ".join(offers) if offers else "nothing smaller fits, either: free memory"
    raise InvalidModel(
        f"serving it takes {_gb(wanted.total)} of memory ({_gb(wanted.weights)} for weights in {weights}, "
        f"{_gb(wanted.cache)} for the cache, {_gb(wanted.working)} to work in), and {_gb(available)} are free: {rest}"
    )


def _offers(
    config: DecoderConfig, weights: Weights, limits: EngineLimits, available: int
) -> Iterator[str]:
    """What fits: with less cache (fewer answers at once, or shorter ones), with fewer bits, and with both."""
    for kind in WEIGHTS[WEIGHTS.index(weights) :]:
        wanted = need(config, kind, limits)
        option = "" if kind == weights else f"--weights {kind}"
        if wanted.total <= available:
            yield f"{option} takes {_gb(wanted.total)}"
            return
        left = available - wanted.weights - wanted.working
        if left >= _LEAST_CACHE:
            held = left // 10_000_000 / 100
            smaller = replace(limits, max_cache_bytes=round(held * 1e9))
            total = need(config, kind, smaller).total
            yield f"{option} --max-cache-gb {held:g} takes {_gb(total)}".strip()


def available_bytes() -> int:
    """Memory that this process may still take: the machine's, or its control group's if that is less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    free = _field(Path("/proc/meminfo"), "MemAvailable:")
    if free is not None:
        found.append(free * 1024)
    group = Path("/sys/fs/cgroup")
    limit, used = _number(group / "memory.max"), _number(group / "memory.current")
    if limit is not None and used is not None:
        cached = _field(group / "memory.stat", "inactive_file") or 0
        found.append(max(0, limit - used + cached))
    return min(found)


def _field(path: Path, name: str) -> int | None:
    """The number behind a name in a table of the kernel's."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), None)
    except (OSError, ValueError, IndexError):
        return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None  # no such file here, or "max"


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
