"""The rewards that a batch was given, written down before they are learned from.

    <memory>/grades-<version>.json      {"of": digest of what was graded, "rewards": [...], "sha256": of both}

Law: a batch is graded once on this machine. A grading that ran out of time on a busy machine would come out
otherwise the second time, and a replay must make the same version again, bit for bit. A damaged
file is as none.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

from archipel.records.kept import kept, read_kept
from archipel.training.grading import Submission

KEPT = 64
"""Newest versions whose rewards stay; a restart replays fewer."""


class Grades:
    """The rewards of one run."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def of(self, version: int, shown: Sequence[Submission]) -> tuple[float, ...] | None:
        """The rewards that these very submissions got for `version`; None if they were not written down."""
        try:
            told = read_kept(self._place(version).read_bytes(), strict=True)
            rewards = tuple(float(reward) for reward in told["rewards"])
            is_same = told["of"] == _digest(shown)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_whole = len(rewards) == len(shown) and all(math.isfinite(each) for each in rewards)
        return rewards if is_same and is_whole else None

    def keep(self, version: int, shown: Sequence[Submission], rewards: Sequence[float]) -> None:
        """Whole or not there. Raises OSError: the disk."""
        place = self._place(version)
        partial = place.with_suffix(".partial")
        partial.write_bytes(kept({"of": _digest(shown), "rewards": list(rewards)}))
        partial.replace(place)
        for old in self._memory.glob("grades-*.json"):
            number = old.stem.removeprefix("grades-")
            if number.isdecimal() and int(number) <= version - KEPT:
                old.unlink(missing_ok=True)

    def _place(self, version: int) -> Path:
        return self._memory / f"grades-{version}.json"


def _digest(shown: Sequence[Submission]) -> str:
    hasher = hashlib.sha256()
    for each in shown:
        line = json.dumps([each.split, each.index, each.completion, each.finished])
        hasher.update(line.encode() + b"\n")
    return hasher.hexdigest()
