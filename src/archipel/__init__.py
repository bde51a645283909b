"""Archipel: train, prove, own and run truly open language models on everyone's computers.

The rooms, their order and their laws stand in ARCHITECTURE.md.
"""

__version__ = "0.1.0"


def source_environment() -> dict[str, str]:
    """Variables with which a process started from here imports this same source tree.

    Empty for an installed package, which every process finds by itself: naming its folder would put
    all that is installed beside it before the standard library.
    """
    from pathlib import Path  # the program hears Ctrl-C in order only once this module is loaded

    folder = Path(__file__).resolve().parents[1]
    if folder.name in ("site-packages", "dist-packages"):
        return {}
    return {"PYTHONPATH": str(folder)}
