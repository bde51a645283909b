"""Archipel: train, prove, own and run truly open language models on everyone's computers.

The rooms, their order and their laws stand in ARCHITECTURE.md.
"""

__version__ = "0.1.0"


SAME_HASHES = {"PYTHONHASHSEED": "0"}
"""Python gives text other hashes in every process unless told; some environments make their tasks in the
order of a set, and tasks have to be the same in every process of a run and after every restart."""


def source_environment() -> dict[str, str]:
    """Variables with which a process started from here makes the same tasks, from this same source tree.

    An installed package is found without help: naming its folder would put all that is installed
    beside it before the standard library.
    """
    from pathlib import Path  # the program hears Ctrl-C in order only once this module is loaded

    folder = Path(__file__).resolve().parents[1]
    if folder.name in ("site-packages", "dist-packages"):
        return dict(SAME_HASHES)
    return {"PYTHONPATH": str(folder), **SAME_HASHES}
