"""Engines that are packages of their own, and devices: whether this machine has them, before it joins a lab."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import click

from archipel import source_environment
from archipel.cli.doors import Mendable, child_environment
from archipel.extras import needs

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
    if name == "cpu":
        return
    looked = [sys.executable, "-m", "archipel.model.devices", name]
    try:
        found = subprocess.run(  # noqa: S603  this very Python; the name is one argument
            looked,
            env={**source_environment(), **child_environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEVICE_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Mendable(f"device {name} does not answer: {error}") from None
    if found.returncode:
        said = found.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"looking for it ended with {found.returncode}"
        raise Mendable(f"--device: {reason:.600}")


PACKAGES = {"transformers": "transformers", "vllm": "vllm"}
"""Engine -> what it imports."""


def require_engine(name: str) -> None:
    """Raises Mendable: its package is not installed."""
    package = PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise Mendable(needs(f"--engine {name}", name))
