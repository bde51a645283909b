"""Engines that are packages of their own: whether this machine has them, before it joins a lab."""

from importlib.util import find_spec

from archipel.cli.doors import Mendable

PACKAGES = {"transformers": "transformers", "vllm": "vllm"}
"""Engine -> what it imports."""


def require_engine(name: str) -> None:
    """Raises Mendable: its package is not installed."""
    package = PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise Mendable(
            f"--engine {name} needs an extra package that is not installed: pip install 'archipel[{name}]'"
        )
