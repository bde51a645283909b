"""What one run measured, heard entry by entry as a ledger is folded: nobody is believed who is not trusted in it. Pure.

A version is the answer of a key that the run's opening names; so is an evaluation. Each is remembered with the entry
that says it.
"""

from collections import Counter
from dataclasses import dataclass, field

from archipel.curves.history import Exam, History, Point, plain, plain_exam
from archipel.lab.entry import Entry
from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.kinds.merge import MergeAnswer
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.statements import Recorded, RunOpened, WorkAnswered

VERSIONS = (UpdateAnswer, MergeAnswer)
"""Answers that are a version, with what it measured."""


@dataclass
class Course:
    """One run, as far as it was heard."""

    run: str
    size: int = 0
    """Entries heard."""
    opened: RunOpened | None = None
    opened_at: int = 0
    """Entry that opened it."""
    points: dict[int, Point] = field(default_factory=dict)
    exams: dict[int, Exam] = field(default_factory=dict)
    published: dict[int, int] = field(default_factory=dict)
    """Version -> the entry that published it."""
    rated: dict[int, int] = field(default_factory=dict)
    """Version -> the entry of its evaluation."""
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(key, kind of work) -> answers in the ledger."""

    def hear(self, entry: Entry) -> None:
        """The next entry, which was found to follow."""
        number, self.size = self.size, self.size + 1
        said = entry.statement
        if isinstance(said, RunOpened) and said.run == self.run:
            self.opened, self.opened_at = said, number
        elif isinstance(said, WorkAnswered) and self.opened is not None:
            self._answered(said, number, entry.at_ms / 1000)

    def _answered(self, said: WorkAnswered, number: int, at_s: float) -> None:
        if self.opened is None or said.work.rpartition(".")[0] != self.run:
            return
        self.answers[said.author, said.answer.kind] += 1
        made = version_in(said, self.opened)
        if made is not None:
            self.points[made.version] = Point(made.version, at_s, plain(made.metrics))
            self.published[made.version] = number
        elif isinstance(said.answer, EvaluateAnswer) and said.author in self.opened.trusted:
            version = said.answer.version
            self.exams[version] = Exam(version, plain_exam(said.answer.metrics))
            self.rated[version] = number

    def history(self) -> History:
        """By version; raises ValueError: no entry opened the run."""
        if self.opened is None:
            raise ValueError(f"these {self.size} entries open no run {self.run!r:.80}")
        points = tuple(point for _, point in sorted(self.points.items()))
        exams = tuple(exam for _, exam in sorted(self.exams.items()))
        return History(self.run, self.opened.terms.versions, points, exams)


def version_in(said: Recorded, opened: RunOpened) -> UpdateAnswer | MergeAnswer | None:
    """The version of this run that a statement publishes, by a key that the run trusts; None: it publishes none."""
    if not isinstance(said, WorkAnswered) or not isinstance(said.answer, VERSIONS):
        return None
    if said.work.rpartition(".")[0] != opened.run or said.author not in opened.trusted:
        return None
    is_published = WORDS_OF[said.answer.kind].publishes(said.answer) is not None
    return said.answer if is_published else None
