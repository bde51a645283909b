"""How many bytes a new policy version costs, against sending all weights in bf16.

Real AdamW updates of real language models, published after every step as the update role does;
each figure's delta was applied to the version before and compared with what was published, along
one chain from an anchor.
What it does not show: the gradients are those of language modelling, not of reinforcement learning,
and larger models have weights of other magnitude; the share of weights that cross a bf16 step, and
so the size, depends on both.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import zstandard
from torch import Tensor

from archipel.bench.intervals import T_95, mean_of_seeds
from archipel.bench.subjects import Learner, Subject, subject_named
from archipel.model.directory import expected_shapes
from archipel.model.manifest import weight_bytes
from archipel.model.versions import (
    apply_delta,
    decode_anchor,
    describe,
    encode_anchor,
    encode_delta,
)

LEARNING_RATES = (1e-6, 1e-5, 1e-4, 1e-3)
SUBJECTS = ("demo", "30m")
WARM_STEPS = 10
"""Steps before measuring: a fresh Adam moves every weight by its full learning rate at first."""
MEASURED_VERSIONS = 4
MAX_SEEDS = len(T_95) + 1


class RoundTripFailed(RuntimeError):
    """A delta did not give back the published bytes; the figures would be worthless."""


@dataclass(frozen=True)
class Published:
    """One version as it went over the wire."""

    delta_bytes: int
    manifest_bytes: int
    anchor_bytes: int
    xor_bytes: int
    """Exclusive-or of the bit patterns under zstd level 3: the common alternative."""
    changed: float
    """Share of weights whose bf16 value differs from the version before."""
    encode_s: float
    apply_s: float


def measure(
    subjects: Sequence[str] = SUBJECTS,
    learning_rates: Sequence[float] = LEARNING_RATES,
    num_seeds: int | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """One row per subject and learning rate; sizes in bytes, intervals over seeds.

    `times_smaller` counts the manifest with the delta, as both must travel.

    Raises:
        RoundTripFailed: a delta did not reproduce what was published.
    """
    if num_seeds is not None and not 1 <= num_seeds <= MAX_SEEDS:
        raise ValueError(f"num_seeds is {num_seeds}; expected 1 to {MAX_SEEDS}")
    rows = []
    for name in subjects:
        subject = subject_named(name)
        by_rate: dict[float, list[list[Published]]] = {rate: [] for rate in learning_rates}
        for seed in range(num_seeds or subject.num_seeds):
            on_progress(f"{name}: seed {seed}, training from random weights")
            learner = Learner(subject, seed)
            for rate in learning_rates:
                on_progress(f"{name}: seed {seed}, learning rate {rate:g}")
                by_rate[rate].append(_versions(learner, rate))
        rows += [_row(subject, rate, runs) for rate, runs in by_rate.items()]
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows for people: sizes relative to all weights in bf16, the manifest in bytes."""
    lines = [
        f"{'model':6} {'rate':>6} {'full bf16':>11} {'changed':>8} {'delta':>8} {'95% interval':>16}"
        f" {'manifest':>9} {'smaller':>8} {'xor+zstd':>9} {'anchor':>7} {'encode':>8} {'apply':>8}"
    ]
    for row in rows:
        bounds = row["delta_share_interval"]
        interval = "one seed" if bounds is None else f"{bounds[0]:.2%}-{bounds[1]:.2%}"
        lines.append(
            f"{row['model']:6} {row['learning_rate']:>6.0e} {row['full_bytes']:>11,}"
            f" {row['changed_share']:>8.2%} {row['delta_share']:>8.2%}"
            f" {interval:>16} {row['manifest_bytes']:>9,.0f} {row['times_smaller']:>7.1f}x"
            f" {row['xor_share']:>9.2%} {row['anchor_share']:>7.1%}"
            f" {row['encode_ms']:>5.0f} ms {row['apply_ms']:>5.0f} ms"
        )
    lines.append("every delta was applied and compared with the published bytes")
    return "\n".join(lines)


def _versions(learner: Learner, learning_rate: float) -> list[Published]:
    learner.begin(learning_rate)
    for _ in range(WARM_STEPS):
        learner.step()
    state = learner.published()
    manifest = describe(state, 0, None)
    held = decode_anchor(encode_anchor(state), manifest)
    published = []
    for version in range(1, MEASURED_VERSIONS + 1):
        learner.step()
        fresh = learner.published()
        target = describe(fresh, version, manifest.state)
        began = time.perf_counter()
        delta = encode_delta(state, fresh, manifest, target)
        encoded = time.perf_counter()
        held = apply_delta(held, manifest, delta, target)
        applied = time.perf_counter()
        if not all(torch.equal(_bits(held[name]), _bits(fresh[name])) for name in fresh):
            raise RoundTripFailed(f"version {version} of {learning_rate:g} came back different")
        changed, xor_bytes = _plainly(state, fresh)
        published.append(
            Published(
                delta_bytes=len(delta),
                manifest_bytes=len(target.to_bytes()),
                anchor_bytes=len(encode_anchor(fresh)),
                xor_bytes=xor_bytes,
                changed=changed,
                encode_s=encoded - began,
                apply_s=applied - encoded,
            )
        )
        state, manifest = fresh, target
    return published


def _bits(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int16)


def _plainly(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> tuple[float, int]:
    """Share of changed weights, and the size of the exclusive-or under zstd level 3."""
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    size = changed = total = 0
    for name in sorted(new):
        difference = weight_bytes(name, old[name]) ^ weight_bytes(name, new[name])
        changed += int((difference != 0).sum())
        total += len(difference)
        size += len(compressor.compress(difference.tobytes()))
    return changed / total, size + len(compressor.flush())


def _row(subject: Subject, learning_rate: float, runs: list[list[Published]]) -> dict[str, Any]:
    versions = [version for run in runs for version in run]
    num_weights = sum(math.prod(shape) for shape in expected_shapes(subject.config).values())
    full = 2 * num_weights

    def mean(field: str) -> float:
        return statistics.fmean(getattr(version, field) for version in versions)

    per_seed = [statistics.fmean(version.delta_bytes / full for version in run) for run in runs]
    share = mean_of_seeds(per_seed)
    return {
        "model": subject.name,
        "num_weights": num_weights,
        "learning_rate": learning_rate,
        "seeds": len(runs),
        "versions": len(versions),
        "full_bytes": full,
        "changed_share": mean("changed"),
        "delta_bytes": mean("delta_bytes"),
        "delta_share": share.mean,
        "delta_share_interval": (share.low, share.high) if len(runs) > 1 else None,
        "times_smaller": full / (mean("delta_bytes") + mean("manifest_bytes")),
        "xor_share": mean("xor_bytes") / full,
        "anchor_share": mean("anchor_bytes") / full,
        "manifest_bytes": mean("manifest_bytes"),
        "encode_ms": 1000 * mean("encode_s"),
        "apply_ms": 1000 * mean("apply_s"),
        "round_trip": "verified",
    }
