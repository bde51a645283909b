"""The rewards that a batch was given, written down before they are learned from.

    <memory>/grades-<version>[-<share>].json      {"of": digest of what was graded, "rewards": [...], "parts": {...}, "sha256": of all}

Law: a batch is graded once on this machine. A grading that ran out of time on a busy machine would come out
otherwise the second time, and a replay must make the same version again, bit for bit. A damaged
file is as none.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from archipel.records.kept import kept, read_kept
from archipel.training.environments.judgement import MAX_PARTS, Judgement
from archipel.training.grading import Submission

PART = "part_"
KEPT = 64
"""Newest versions whose rewards stay; a restart replays fewer."""


Earned = tuple[float, Mapping[str, float]]
"""A reward, and its parts by name."""
NOTHING: Earned = (0.0, {})


@dataclass(frozen=True)
class BatchGrades:
    """Of one batch."""

    rewards: tuple[float, ...]
    parts: Mapping[str, float] = field(default_factory=dict)
    """Mean of each part and metric, over the gradings that had it."""
    each: tuple[Mapping[str, float], ...] = ()
    """Of each grading its parts, by their names; empty where none had any."""

    @classmethod
    def of(cls, judgements: Sequence[Judgement]) -> Self:
        """The means of what was judged."""
        found: dict[str, list[float]] = {}
        for each in judgements:
            for name, value in each.parts.items():
                found.setdefault(name, []).append(value)
        rewards = tuple(each.reward or 0.0 for each in judgements)
        few = sorted(found)[:MAX_PARTS]
        means = {name: math.fsum(found[name]) / len(found[name]) for name in few}
        own = tuple(
            {
                name.removeprefix(PART): value
                for name, value in each.parts.items()
                if name.startswith(PART)
            }
            for each in judgements
        )
        return cls(rewards, means, own if any(own) else ())


def earned_of(grades: BatchGrades) -> list[Earned]:
    """Of each submission, in order."""
    own = grades.each or ({},) * len(grades.rewards)
    return list(zip(grades.rewards, own, strict=True))


def columns(parts: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    """Of one group: each part's values; 0 where a grading did not give it."""
    names = sorted({name for each in parts for name in each})
    return {name: tuple(each.get(name, 0.0) for each in parts) for name in names}


class Grades:
    """The rewards of one run."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def of(self, version: int, shown: Sequence[Submission], share: int = 0) -> BatchGrades | None:
        """The grades that these very submissions got for `version`; None if they were not written down.

        share: where a batch is graded in shares, which of them, from 0.
        """
        try:
            told = read_kept(self._place(version, share).read_bytes(), strict=True)
            rewards = tuple(float(reward) for reward in told["rewards"])
            parts = {str(name): float(mean) for name, mean in told.get("parts", {}).items()}
            own = tuple(
                {str(name): float(value) for name, value in one.items()}
                for one in told.get("each", [])
            )
            is_same = told["of"] == _digest(shown)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        numbers = (*rewards, *parts.values(), *(value for one in own for value in one.values()))
        is_whole = len(rewards) == len(shown) and all(math.isfinite(each) for each in numbers)
        is_whole &= len(own) in (0, len(shown))
        return BatchGrades(rewards, parts, own) if is_same and is_whole else None

    def keep(
        self, version: int, shown: Sequence[Submission], grades: BatchGrades, share: int = 0
    ) -> None:
        """Whole or not there. Raises OSError: the disk."""
        place = self._place(version, share)
        partial = place.with_suffix(".partial")
        told: dict[str, Any] = {"of": _digest(shown), "rewards": list(grades.rewards)}
        told["parts"] = dict(grades.parts)
        if grades.each:
            told["each"] = [dict(one) for one in grades.each]
        partial.write_bytes(kept(told, is_for_people=False))
        partial.replace(place)
        for old in self._memory.glob("grades-*.json"):
            number = old.stem.removeprefix("grades-").partition("-")[0]
            if number.isdecimal() and int(number) <= version - KEPT:
                old.unlink(missing_ok=True)

    def _place(self, version: int, share: int) -> Path:
        return self._memory / f"grades-{version}{f'-{share}' if share else ''}.json"


def _digest(shown: Sequence[Submission]) -> str:
    all_of_them = [
        [each.split, each.index, each.completion, each.finished]
        + ([[turn.to_json() for turn in each.turns]] if each.turns else [])
        for each in shown
    ]
    return hashlib.sha256(json.dumps(all_of_them).encode()).hexdigest()
