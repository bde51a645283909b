"""Devices that tensors live on: the one that was asked for, made ready, or a sentence about why it is not here.

Parts: `ready_device`, `devices_here`, `devices_like`, `about` (which hardware it is), `free_bytes_on`; what differs between
devices: `in_one_order` (the same bits twice), `float64_place`, `running_sums`, `can_prepack`. As a program: is this one here?
Law: nothing is moved to another device than the one that was asked for.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

CPU = torch.device("cpu")
ACCELERATORS = ("cuda", "xpu", "mps")
"""Types of devices that torch calls by these names, beside `cpu`; AMD's (ROCm) are called cuda."""


class NoDevice(ValueError):
    """The device that was asked for is not here; the message says what is."""


def ready_device(name: str) -> torch.device:
    """The device `name` (cpu, cuda, cuda:1, xpu, mps), which has computed something.

    On CUDA, products in fp32 and sums of bf16 products are not shortened from here on.

    Raises:
        NoDevice: torch knows no such device, was built without it, or this machine has none.
    """
    here = f"this torch ({torch.__version__}) finds {', '.join(devices_here())} here"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", *ACCELERATORS):
        raise NoDevice(
            f"{name!r:.80} is no device that computes here; expected cpu, cuda, cuda:1, xpu or mps, and {here}"
        )
    if device.type == "cpu":
        return device
    if not _is_available(device.type):
        if said := _said_by_cuda(device.type):
            raise NoDevice(
                f"device {name} is not available, though this torch is built for it: {said:.300}; {here}; if `archipel bench "
                "device` finds it, its driver needs what a confined work process may not do: docs/reference/devices.md"
            )
        raise NoDevice(
            f"device {name} is not available: {here}; install a torch that is built for it, or leave --device out"
        )
    try:
        float(torch.ones(2, device=device).sum())
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NoDevice(f"device {name} does not compute: {reason:.200}; {here}") from None
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return device


def devices_here() -> list[str]:
    """Names of the devices that this torch can use on this machine."""
    found = ["cpu"]
    for kind in ACCELERATORS:
        if _is_available(kind):
            count = 1 if kind == "mps" else int(getattr(torch, kind).device_count())
            found += [kind] if count == 1 else [f"{kind}:{n}" for n in range(count)]
    return found


def devices_like(name: str) -> list[str]:
    """All of that type where no one of them is named: cuda on a machine with two is cuda:0 and cuda:1."""
    kind, _, index = name.partition(":")
    if index or kind not in ("cuda", "xpu") or not _is_available(kind):
        return [name]
    return [f"{kind}:{number}" for number in range(int(getattr(torch, kind).device_count()))]


def about(device: torch.device) -> str:
    """Which hardware and which libraries it is, for people."""
    if device.type == "cuda":
        by = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
        return f"{torch.cuda.get_device_name(device)}, {by}, torch {torch.__version__}"
    if device.type == "xpu":
        return f"{torch.xpu.get_device_name(device)}, XPU, torch {torch.__version__}"
    if device.type == "mps":
        return f"Apple GPU (Metal), torch {torch.__version__}"
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"processor with {vectors}, torch {torch.__version__}"


def free_bytes_on(device: torch.device) -> int | None:
    """Memory of an accelerator that nobody uses; None where torch does not say, and for cpu."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


@contextmanager
def in_one_order(device: torch.device) -> Iterator[None]:
    """What is computed inside gives the same bits each time, on this machine with this software.

    A processor's sums are in one order anyway. On CUDA (and ROCm) torch refuses, inside, what it could only do in
    any order; cuBLAS asks for CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment. Of other accelerators
    torch promises nothing: there `archipel bench device` says what was found.
    """
    if device.type == "cpu":
        yield
        return
    was = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cuda")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was, warn_only=only_warned)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def float64_place(device: torch.device) -> torch.device:
    """The device itself, or the processor where the device has no float64 (Apple's GPUs, some of Intel's)."""
    return device if device.type == "cpu" or _has_float64(device) else CPU


def running_sums(x_BV: Tensor) -> Tensor:
    """(B, V) float64: along each row, the sum of all up to each place.

    Each row is summed by itself. On CUDA torch counts this among what it does in any order, because a single long
    row may be; in float64 the sums of probabilities then differ in the last of 53 bits.
    """
    was = torch.are_deterministic_algorithms_enabled()
    if not was or x_BV.device.type == "cpu":
        return x_BV.cumsum(-1, dtype=torch.float64)
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        return x_BV.cumsum(-1, dtype=torch.float64)
    finally:
        torch.use_deterministic_algorithms(was, warn_only=only_warned)


def _is_available(kind: str) -> bool:
    if kind == "mps":
        return bool(torch.backends.mps.is_available())
    library = getattr(torch, kind, None)
    return library is not None and bool(library.is_available())


def _said_by_cuda(kind: str) -> str:
    """Why CUDA (or ROCm) does not start in a torch that is built for it; nothing where it is not, or of another kind."""
    if kind != "cuda" or not (torch.version.cuda or torch.version.hip):
        return ""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return next(iter(str(error).splitlines()), type(error).__name__)
    return ""


@cache
def _has_float64(device: torch.device) -> bool:
    try:
        return float(torch.ones(2, device=device, dtype=torch.float64).cumsum(0)[1]) == 2.0
    except (RuntimeError, TypeError, NotImplementedError):
        return False


def can_prepack(device: torch.device) -> bool:
    """Whether this build of torch has the prepacked products."""
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


if __name__ == "__main__":
    try:
        ready_device(sys.argv[1])
    except NoDevice as absent:
        sys.exit(str(absent))
