"""What a grading may say beside its reward, and how it is read back from a process that nobody trusts.

Parts: `Ask` (something that a reward needs done elsewhere: a program run, a judge asked), `Judgement`, and
`read_judgement`, which takes them from JSON. Law: whatever is not of the form, or beyond a bound, is refused whole.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeGuard

from archipel.training.environments.task import Task

MAX_PARTS = 32
"""Named values of one grading."""
MAX_ASKS = 8
"""Things that one grading may ask for."""
MAX_ASK_CHARS = 48_000
"""All that one grading asks for together, so that its line stays below `MAX_LINE_BYTES` in most scripts."""
MAX_SAID_CHARS = 16_000
"""What a program printed or a judge answered; the rest is cut off."""
MAX_LINE_BYTES = 256 * 1024
"""One answer of a cell, as JSON."""
MAX_VALUE = 1e6
"""Of a metric, either way."""
PART = re.compile(r"(part|metric)_[a-z][a-z0-9_]{0,31}")


class BadJudgement(ValueError):
    """An answer that no grading gives."""


@dataclass(frozen=True)
class Ask:
    """One thing to be done elsewhere."""

    kind: Literal["program", "judge"]
    text: str
    """The program's source, or what the judge is asked."""
    input: str = ""
    """The program's standard input."""

    def fields(self) -> dict[str, str]:
        """As JSON has it."""
        return {"kind": self.kind, "text": self.text, "input": self.input}


@dataclass(frozen=True)
class Judgement:
    """What came of one grading: a reward, or questions that come first, or what a program said."""

    reward: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    """`part_NAME` is a reward before its weight, `metric_NAME` a number to look at."""
    asks: tuple[Ask, ...] = ()
    said: str | None = None

    def fields(self) -> dict[str, Any]:
        """As JSON has it."""
        told: dict[str, Any] = {}
        if self.reward is not None:
            told["reward"] = float(self.reward)
        if self.parts:
            told["parts"] = dict(self.parts)
        if self.asks:
            told["asks"] = [each.fields() for each in self.asks]
        if self.said is not None:
            told["said"] = self.said
        return told


class Judges(Protocol):
    """An environment whose gradings say more than a number."""

    def judge(
        self, task: Task, completion: str, finished: bool, replies: tuple[str, ...] | None
    ) -> Judgement:
        """replies: to what was asked the first time, in order; None the first time."""


def has_judge(environment: object) -> TypeGuard[Judges]:
    """Whether this environment is one of them."""
    return hasattr(environment, "judge")


def read_judgement(told: Mapping[str, Any]) -> Judgement:
    """From JSON.

    Raises:
        BadJudgement: a field of another form, or too much of it. The reward itself is for the reader to check.
    """
    reward, said = told.get("reward"), told.get("said")
    if not isinstance(reward, float | None) or not isinstance(said, str | None):
        raise BadJudgement(f"got reward {reward!r:.40} and said {said!r:.40}")
    parts, asks = told.get("parts", {}), told.get("asks", [])
    if not isinstance(parts, dict) or not isinstance(asks, list):
        raise BadJudgement(f"got parts {parts!r:.40} and asks {asks!r:.40}")
    return Judgement(
        reward, _read_parts(parts), tuple(_read_asks(asks)), said and said[:MAX_SAID_CHARS]
    )


def _read_parts(parts: dict[str, Any]) -> dict[str, float]:
    if len(parts) > MAX_PARTS:
        raise BadJudgement(f"{len(parts)} parts and metrics; expected at most {MAX_PARTS}")
    for name, value in parts.items():
        if not PART.fullmatch(name):
            raise BadJudgement(f"a part called {name!r:.60}; expected lower-case words")
        if not isinstance(value, float) or not math.isfinite(value) or abs(value) > MAX_VALUE:
            raise BadJudgement(f"{name} is {value!r:.40}; expected a number within {MAX_VALUE:.0f}")
    return parts


def _read_asks(asks: list[Any]) -> list[Ask]:
    if len(asks) > MAX_ASKS:
        raise BadJudgement(f"{len(asks)} questions; expected at most {MAX_ASKS}")
    found = []
    for each in asks:
        fields = [each.get(key) if isinstance(each, dict) else None for key in ("kind", "text")]
        kind, text = fields
        given = each.get("input", "") if isinstance(each, dict) else None
        if (
            kind not in ("program", "judge")
            or not isinstance(text, str)
            or not isinstance(given, str)
        ):
            raise BadJudgement(f"a question {each!r:.80}; expected kind, text and perhaps input")
        found.append(Ask(kind, text, given))
    if sum(len(each.text) + len(each.input) for each in found) > MAX_ASK_CHARS:
        raise BadJudgement(f"questions of more than {MAX_ASK_CHARS} characters")
    return found
