"""One model over several devices by vLLM: whether this host can, and what each of its processes does besides.

Parts: `Host`, `host_here`, `why_not` (pure: what stands in the way, in a sentence), `SpreadWorker` (mixed into vLLM's workers).
As a program: can this host? Law: refused before a process is started or a weight is read.
"""

import ctypes
import os
import resource
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from archipel.model.config import DecoderConfig
from archipel.records.spread import Spread

EXECUTORS = {"processes": "mp", "ray": "ray"}
"""What vLLM calls them."""
MAX_FOLDER_BYTES = 70
"""Of the path of the temporary folder, in which vLLM's processes meet at a Unix socket: Linux bounds the whole name
(unix(7), 108 bytes), of which vLLM takes the rest."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Host:
    """What this machine has for it."""

    devices: int
    """Accelerators that vLLM sees; of a processor its cores that this process may use."""
    is_processor: bool
    """Whether this vLLM was built for one."""
    has_ray: bool
    folder: str
    """For temporary files."""


def host_here() -> Host:
    """Looked at by vLLM's own eyes.

    Raises:
        ImportError: vLLM is not installed.
    """
    from vllm.platforms import current_platform

    is_processor = bool(current_platform.is_cpu())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Host(
        devices=(cores or 1) if is_processor else int(current_platform.device_count()),
        is_processor=is_processor,
        has_ray=find_spec("ray") is not None,
        folder=tempfile.gettempdir(),
    )


def why_not(spread: Spread, host: Host, config: DecoderConfig | None = None) -> str:
    """What stands in the way, in a sentence; nothing where vLLM can do it.

    config: of the model, where it is known already.
    """
    count = spread.devices
    if spread.is_one:
        return ""
    if spread.by == "ray":
        if host.is_processor:
            return "this vLLM is built for a processor, on which it does not start through Ray; expected --spread processes"
        if not host.has_ray:
            return "--spread ray needs Ray beside vLLM, and it is not installed here; in vLLM's environment: pip install ray"
    elif count > host.devices:
        kind = "cores" if host.is_processor else "accelerators"
        return (
            f"one model over {count} devices needs as many {kind}, and this host has {host.devices}; "
            "give fewer with --devices-per-engine"
        )
    if len(os.fsencode(host.folder)) > MAX_FOLDER_BYTES:
        return (
            f"vLLM's processes meet in {host.folder:.200}, a path of {len(os.fsencode(host.folder))} bytes; expected at most "
            f"{MAX_FOLDER_BYTES}: give a shorter --home"
        )
    return "" if config is None else _undivided(config, count)


def _undivided(config: DecoderConfig, count: int) -> str:
    """What of the model has no equal slices."""
    heads, shared, inner = config.num_heads, config.num_kv_heads, config.intermediate_size
    if heads % count:
        what = f"its {heads} attention heads do"
    elif max(shared, count) % min(shared, count):
        what = f"its {shared} heads of keys and values do"
    elif inner % count:
        what = f"its {inner} inner features do"
    else:
        return ""
    return (
        f"the model cannot be split over {count} devices, because {what} not divide by them; "
        "join with another --devices-per-engine"
    )


class SpreadWorker:
    """What every process of a model that is split does besides."""

    def live_with_parent(self) -> None:
        """End when the process that started this one ends, however it did; spend time as that one is allowed to.

        The bound on processor time that this process inherited counts the works of its whole life, where its parent's
        is set anew for each.
        """
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


if __name__ == "__main__":
    asked = Spread(devices=int(sys.argv[1]), by="ray" if sys.argv[2] == "ray" else "processes")
    if fault := why_not(asked, host_here()):
        sys.exit(fault)
