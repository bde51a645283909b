"""Which devices each engine of a crew has, and its process, which sees no others.

Parts: `shares_of`, `member_process`. Law: a share is whole; an engine that splits its model never gets fewer devices than
it asked for, and two engines share devices only where there are fewer shares than engines.
"""

import subprocess
import sys

from archipel.model.devices import devices_like
from archipel.work.kind import EngineChoice, MachineUnfit

ONE_BY_ONE = ("cuda", "xpu")
"""Types of devices of which a machine may have several, each with a number."""


def shares_of(choice: EngineChoice, here: list[str] | None = None) -> list[tuple[str, ...]]:
    """Names of the devices that each engine in turn gets; of a processor, and through Ray, the one name that was given.

    here: the devices of that type on this machine; None: looked for.

    Raises:
        MachineUnfit: they are fewer than one engine splits its model over.
    """
    spread, kind = choice.spread, choice.device.partition(":")[0]
    if spread.by == "ray" or kind not in ONE_BY_ONE:
        return [(choice.device,)]
    devices = devices_like(choice.device) if here is None else here
    shares = [
        tuple(devices[first : first + spread.devices])
        for first in range(0, len(devices) - spread.devices + 1, spread.devices)
    ]
    if not shares:
        raise MachineUnfit(
            f"each engine splits its model over {spread.devices} devices, and {choice.device} is {len(devices)} here; "
            "give fewer with --devices-per-engine, or name no single one with --device"
        )
    return shares


def member_process(choice: EngineChoice, share: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Inherits what confines this process; vLLM sees the accelerators that it gets.

    Raises:
        MachineUnfit: it cannot be started.
    """
    program = [sys.executable, "-m", "archipel.work.crew_member"]
    try:
        return subprocess.Popen(  # noqa: S603  this very Python, no shell
            [*seeing(choice, share), *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    except OSError as error:
        raise MachineUnfit(f"no further engine can be started here: {error}") from None


def seeing(choice: EngineChoice, share: tuple[str, ...]) -> list[str]:
    """What stands before the program of an engine, so that vLLM counts these devices alone; nothing for others."""
    numbers = [
        number for kind, _, number in (name.partition(":") for name in share) if kind == "cuda"
    ]
    if choice.name != "vllm" or not all(numbers) or not numbers:
        return []
    return ["/usr/bin/env", f"CUDA_VISIBLE_DEVICES={','.join(numbers)}"]
