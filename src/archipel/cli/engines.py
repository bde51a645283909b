"""Engines that are packages of their own, and devices: whether this machine has them, before it joins a lab."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from archipel import source_environment
from archipel.cli.doors import Mendable, child_environment
from archipel.cli.grouped import together
from archipel.extras import needs

if TYPE_CHECKING:
    from archipel.records.spread import Spread

RAY = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
"""Of the environment, where models are spread by Ray: where its cluster is, and the word that it asks for."""
DEVICE_LIMIT_S = 180
"""Loading the libraries of an accelerator from a cold disk, and its first product."""


def device_option(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--device`, on which `what` happens."""
    return click.option(
        "--device",
        default="cpu",
        show_default=True,
        metavar="DEVICE",
        help=f"Where it {what}: cpu, cuda (AMD's too), cuda:1, xpu, mps.",
    )


def require_device(name: str) -> None:
    """Looked at in a process of its own: an agent that loaded an accelerator's libraries would keep their memory.

    Raises:
        Mendable: it is not here.
    """
    if name != "cpu" and (fault := _looked("archipel.model.devices", name)):
        raise Mendable(f"--device: {fault}")


spread_options = together(
    click.option(
        "--devices-per-engine",
        default=1,
        show_default=True,
        type=click.IntRange(1, 64),
        help="Devices that one model is split over (tensor parallel), by vLLM alone; on a processor as many "
        "processes of --threads threads.",
    ),
    click.option(
        "--spread",
        default="processes",
        show_default=True,
        type=click.Choice(["processes", "ray"]),
        help="Who carries a split model: vLLM's own processes on this host, or a Ray cluster of several hosts that "
        "runs already (RAY_ADDRESS) and shares --home.",
    ),
)
"""Over how many devices an engine splits its model, and who carries it there."""


def spread_of(engine: str, devices: int, by: str) -> "Spread":
    """Asked of vLLM itself, in a process of its own, before a lab is asked for work.

    Raises:
        UsageError: the options do not fit together. Mendable: this host cannot.
    """
    from archipel.records.spread import Spread

    spread = Spread.model_validate({"devices": devices, "by": by})
    if spread.is_one:
        if by == "ray":
            raise click.UsageError(
                "--spread ray carries nothing on one device; give --devices-per-engine too"
            )
        return spread
    if engine != "vllm":
        raise click.UsageError(
            f"--devices-per-engine {devices}: the engine {engine} does not split a model; give --engine vllm, or several "
            "--engines with the whole model each"
        )
    if fault := _looked("archipel.engine.vllm_spread", str(devices), by):
        raise Mendable(f"--devices-per-engine: {fault}")
    return spread


def spread_environment(spread: "Spread") -> dict[str, str]:
    """What processes of one model must know to meet: on this host, or through the Ray cluster that was named.

    vLLM would bind each process's threads to a memory node of its own, of which few machines have several, and asks for
    as many; unbound they have as many threads as were given.
    """
    from archipel.node.ranks import NEAR

    if spread.is_one:
        return {}
    unbound = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    if spread.by == "processes":
        return unbound | NEAR | {"VLLM_HOST_IP": "127.0.0.1"}
    return unbound | {name: os.environ[name] for name in RAY if name in os.environ}


def _looked(module: str, *words: str) -> str:
    """Why not, in the last words of this program; nothing if it found no fault."""
    try:
        found = subprocess.run(  # noqa: S603  this very Python; each word is one argument
            [sys.executable, "-m", module, *words],
            env={**source_environment(), **child_environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEVICE_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{' '.join(words)} does not answer: {error}"
    if not found.returncode:
        return ""
    said = found.stderr.decode(errors="replace").strip().splitlines()
    return f"{said[-1] if said else f'looking for it ended with {found.returncode}':.600}"


PACKAGES = {"transformers": "transformers", "vllm": "vllm"}
"""Engine -> what it imports."""


def require_engine(name: str) -> None:
    """Raises Mendable: its package is not installed."""
    package = PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise Mendable(needs(f"--engine {name}", name))
