"""What `archipel bench exact` measures: variants, models, sizes, and ways to recompute."""

from dataclasses import dataclass

from archipel.bench.exact_own import OWN
from archipel.engine.exact.scoring import BF16, FP32

CHEAP, FINE = "w7a8", "w13a15"
WHOLE = "w12a13"
KINDS = (FP32, BF16, CHEAP, WHOLE, FINE)


@dataclass(frozen=True)
class Way:
    """One way to recompute what was recorded."""

    name: str
    cap: str
    threads: int = 1
    without: tuple[str, ...] = ()
    """Backends that it may not use."""


ARMS = (
    Way("full", "full"), Way("avx2", "avx2"), Way("sse4.1", "sse4.1"), Way("compatible", "compatible"),
    Way("2 threads", "full", threads=2), Way("oneDNN alone", "full", without=("fbgemm", "float32")),
    Way("floats alone", "full", without=("fbgemm", "onednn")),
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    parts: tuple[str, ...] = ()
    """Names of `exact.PARTS`; none: all."""
    models: tuple[str, ...] = ("demo", "30m", "100m")
    """Random ones: of speed and verifying."""
    own: tuple[str, ...] = OWN
    """Trained here: of quality and detection."""
    directories: tuple[str, ...] = ()
    """Of all but learning."""
    batch_sizes: tuple[int, ...] = (1, 8, 32, 128)
    rounds: int = 6
    caps: tuple[str, ...] = ("full", "avx2", "sse4.1")
    """Of speed; exactness takes all."""
    positions: int = 1_000_000
    """Recomputed over all arms of exactness."""
    completions: int = 64
    """Of each way to cheat."""
    windows: int = 16
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    updates: int = 80
    kinds: tuple[str, ...] = KINDS
    """Of speed; of learning, all but bf16. Fp32 is always one."""
    new_tokens: int = 100
    """Of each answer that exactness recomputes."""
    arms: tuple[str, ...] = tuple(arm.name for arm in ARMS)


QUICK = Plan(
    models=("demo",), own=("policy",), batch_sizes=(1, 8), rounds=3, caps=("full",), positions=10_000,
    completions=16, windows=4, seeds=(0,), updates=20, new_tokens=40,
    arms=("full", "avx2", "sse4.1", "compatible"),
)  # fmt: skip
