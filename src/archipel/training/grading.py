"""Rewards from a separate confined process, so that no completion can touch the learner or another's reward.

Parts: `Submission`, `Grader`. The other side of the pipe is `work.grading`, which says what confines it.
Laws: each grading has a time of its own and each batch a budget; whatever goes wrong with one (hang, crash,
exception, a reward that is no number in [0, 1]) gives reward 0, is counted by cause, and the rest of the
batch goes on. What one completion does, no other's reward shows. The secret travels in the pipe, never in
arguments or the environment. POSIX only.
"""

import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from archipel.records.recipe import EnvironmentSection, Recipe
from archipel.training.elsewhere import Elsewhere
from archipel.training.environments.episodic import Turn
from archipel.training.environments.judgement import (
    Ask,
    BadJudgement,
    Judgement,
    read_judgement,
)
from archipel.training.grading_pipe import Child, ChildLost, GraderUnavailable, json_line

__all__ = ["Grader", "GraderUnavailable", "Submission", "grader_of"]

log = logging.getLogger(__name__)

BUDGET_S = 60.0
"""A batch takes no longer, unless more was given."""
LEASE_SHARE = 0.2
"""Of the time that an update or an evaluation may take, for grading one batch."""
GRACE_S = 10.0
"""Beyond the budget, for what is no grading: making tasks, forking, a busy machine."""
MAX_CHILDREN_IN_VAIN = 3
"""So many processes in a row may be lost without a reward: a machine short of memory kills one now and then,
and what a completion does ends its own cell alone."""
MAX_COMPLETION_CHARS = 1_000_000
"""A longer completion is not graded."""

PROGRAMS = "archipel.training.environments.programs:make"
DEFAULT_FACTORY = "archipel.training.environments.environment:make_environment"
CAUSES = frozenset(
    {"timeout", "crash", "exception", "out_of_range", "garbled", "oversized", "refused"}
)
KEYED = frozenset({"python"})
"""Environments whose secret is a judge's key, which no grader needs to know."""


@dataclass(frozen=True)
class Submission:
    """One completion of one task of the environment."""

    split: str
    index: int
    completion: str
    """Of an episode: the last turn."""
    finished: bool
    replies: tuple[str, ...] | None = None
    """To what its grading asked for the first time."""
    turns: tuple[Turn, ...] = ()
    """Of an episode: all of them."""

    @property
    def num_chars(self) -> int:
        """Of all that is graded."""
        return max(len(self.completion), sum(len(turn.text) for turn in self.turns))


NOTHING = Judgement(0.0)


class Grader:
    """Grades batches in a child process; a context manager that closes it.

    Safe to use from several threads: batches queue. `faults` counts rewards of 0 that no grader
    gave, by cause: timeout, crash, exception, out_of_range, garbled, oversized, refused (by a judge). `protections` names
    what holds where completions are graded.
    """

    def __init__(
        self,
        section: EnvironmentSection,
        seed: int,
        secret: bytes | None = None,
        factory: str = DEFAULT_FACTORY,
        budget_s: float = BUDGET_S,
        folder: Path | None = None,
    ) -> None:
        """Prepare; the child starts on entering the context or with the first batch.

        Args:
            section: the recipe's `[environment]`; its `time_limit_s` bounds each grading.
            seed: the run's seed, as for `make_environment`.
            secret: as for `make_environment`.
            factory: "module:function" with the signature of `make_environment`.
            budget_s: a batch takes no longer; well below the lease that it is graded under.
            folder: where a judge's answers are kept between processes; None keeps them as long as this lives.
        """
        self.faults: Counter[str] = Counter()
        self.protections: tuple[str, ...] = ()
        self._limit_s = section.time_limit_s
        self._budget_s = budget_s
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._programs: Grader | None = None
        self._elsewhere = Elsewhere(section, secret, folder, self._outputs)
        setup = {
            "factory": factory,
            "section": section.model_dump(mode="json"),
            "seed": seed,
            "secret": None if secret is None or section.name in KEYED else secret.hex(),
        }
        self._setup = json_line(setup)

    def __enter__(self) -> Self:
        with self._lock:
            self._running()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def grade(self, submissions: Sequence[Submission]) -> tuple[float, ...]:
        """Rewards in [0, 1], in order; see `graded`."""
        return tuple(each.reward or 0.0 for each in self.graded(submissions))

    def graded(self, submissions: Sequence[Submission]) -> tuple[Judgement, ...]:
        """Rewards in [0, 1] with their parts, in order.

        What a grading asks for is done here between two rounds of it, in a time of its own.

        Raises:
            GraderUnavailable: the child does not start, the machine cannot confine it, or a judge is away.
        """
        with self._lock:
            found = self._round(dict(enumerate(submissions)))
            asked = {number: each.asks for number, each in found.items() if each.asks}
            if asked:
                replies = self._elsewhere.replies(asked, self._budget_s)
                told = {
                    n: replace(submissions[n], replies=said)
                    for n, said in replies.items()
                    if said is not None
                }
                refused = {
                    n: self._zero("refused", "a judge refused the question")
                    for n in asked
                    if n not in told
                }
                again = {n: self._once(each) for n, each in self._round(told).items()}
                found |= refused | again
            return tuple(found[number] for number in range(len(submissions)))

    def close(self) -> None:
        """End the child; a later batch would start a new one."""
        with self._lock:
            self._drop()
            self._elsewhere.close()
            if self._programs is not None:
                self._programs.close()

    def _round(self, submissions: dict[int, Submission]) -> dict[int, Judgement]:
        """What the child says of each, whatever happens to it meanwhile."""
        found: dict[int, Judgement] = {}
        for number, submission in submissions.items():
            if submission.num_chars > MAX_COMPLETION_CHARS:
                found[number] = self._zero("oversized", "completion too long")
        self._running()
        ends_s, in_vain = time.monotonic() + self._budget_s, 0
        while missing := {n: each for n, each in submissions.items() if n not in found}:
            before = len(found)
            try:
                self._ask(missing, ends_s, found)
            except ChildLost as lost:
                self._drop()
                in_vain = in_vain + 1 if len(found) == before else 0
                if in_vain >= MAX_CHILDREN_IN_VAIN or time.monotonic() >= ends_s:
                    self._give_up(set(missing) - set(found), str(lost), found)
        return found

    def _outputs(self, programs: Sequence[Ask]) -> list[str]:
        """What each printed; nothing where it did not end, or broke its cell."""
        if self._programs is None:
            section = EnvironmentSection(name="programs", time_limit_s=self._limit_s)
            self._programs = Grader(section, 0, factory=PROGRAMS, budget_s=self._budget_s)
        shown = [Submission("train", 0, json.dumps(each.fields()), True) for each in programs]
        return [judgement.said or "" for judgement in self._programs.graded(shown)]

    def _once(self, judgement: Judgement) -> Judgement:
        return self._zero("garbled", "it asks again") if judgement.asks else judgement

    def _ask(
        self, submissions: dict[int, Submission], ends_s: float, rewards: dict[int, Judgement]
    ) -> None:
        """Put a judgement beside each number, as they come."""
        child = self._running()
        left_s = max(0.0, ends_s - time.monotonic())
        child.send(_batch(submissions, self._limit_s, left_s))
        last_s = time.monotonic() + left_s + GRACE_S
        for _ in range(len(submissions)):
            reply = child.receive(last_s - time.monotonic())
            number = reply.get("number")
            if not isinstance(number, int) or number not in submissions or number in rewards:
                raise ChildLost("garbled")
            rewards[number] = self._judge(reply)

    def _give_up(self, numbers: set[int], cause: str, rewards: dict[int, Judgement]) -> None:
        """Neither time nor a new child helps."""
        for number in sorted(numbers):
            rewards[number] = self._zero(cause, f"the grading process was lost at {number}")

    def _judge(self, reply: dict[str, Any]) -> Judgement:
        if "fault" in reply:
            return self._zero(str(reply["fault"]), str(reply.get("detail")))
        try:
            judgement = read_judgement(reply)
        except BadJudgement as error:
            return self._zero("garbled", str(error))
        reward = judgement.reward
        if reward is None and (judgement.asks or judgement.said is not None):
            return judgement
        if reward is None or not math.isfinite(reward) or not 0.0 <= reward <= 1.0:
            return self._zero("out_of_range", f"reward {reward!r:.80}, expected 0 to 1")
        return judgement

    def _zero(self, cause: str, detail: str) -> Judgement:
        cause = cause if cause in CAUSES else "garbled"  # a cell may say what it likes
        self.faults[cause] += 1
        log.warning("grading fault: %s: %.500r", cause, detail)
        return NOTHING

    def _running(self) -> Child:
        if self._child is None:
            self._child = Child(self._setup)
            self.protections = self._child.protections
            if self._child.missing:
                log.warning("graders are not fully confined: no %s", ", ".join(self._child.missing))
        return self._child

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


def grader_of(recipe: Recipe, secret: bytes | None, folder: Path | None = None) -> Grader:
    """The grader of a run, whose batches take a small part of the lease that they are graded under."""
    budget_s = recipe.lease.update_deadline_s * LEASE_SHARE
    return Grader(recipe.environment, recipe.run.seed, secret, budget_s=budget_s, folder=folder)


def _batch(submissions: dict[int, Submission], limit_s: float, budget_s: float) -> bytes:
    header = {"count": len(submissions), "limit_s": limit_s, "budget_s": budget_s}
    lines = [
        [
            *(number, each.split, each.index, each.completion, each.finished),
            [turn.to_json() for turn in each.turns],
            each.replies,
        ]
        for number, each in submissions.items()
    ]
    return b"".join(map(json_line, (header, *lines)))
