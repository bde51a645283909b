"""The runs of the kinds of work: one row each. How a kind is run stands in the file of its name.

Law: a kind's file is imported when its first work comes, so that a child which only samples never loads
the trainer; every kind of `records.kinds` has a run here, and no other.
"""

from importlib import import_module

from archipel.records.kinds import WORDS_OF
from archipel.work.kind import EngineChoice, Kind

RUNS = (
    "update",
    "merge",
    "evaluate",
    "audit",
    "adapt",
    "sample",
    "rollout",
    "inner_step",
)
"""Names of kinds and of their files, each of which has `make(choice) -> Kind`."""

if set(RUNS) != set(WORDS_OF):
    raise TypeError(
        f"kinds of work in only one of the tables: {sorted(set(RUNS) ^ set(WORDS_OF))}; each needs "
        "its words in records.kinds and its run in work.kinds"
    )


def make_kind(name: str, choice: EngineChoice) -> Kind:
    """A fresh instance of the kind `name`.

    Raises:
        KeyError: there is no such kind.
    """
    if name not in RUNS:
        raise KeyError(name)
    kind: Kind = import_module(f"archipel.work.kinds.{name}").make(choice)
    return kind
