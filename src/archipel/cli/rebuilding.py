"""A release that is made again: what all its kinds of stages share.

Parts: `Subject` (the release, as it was looked through), `Rebuilding`, `Before`. Law: what does not hold is the
release's, and what cannot be done here is not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from archipel.cli.doors import Mendable
from archipel.cli.findings import Findings
from archipel.cli.recomputing import ALL, Asked, Recomputing
from archipel.cli.run_blobs import Altered, Blobs
from archipel.lab.run_story import RunStory
from archipel.records.payload import BadPayload
from archipel.records.recipe import Recipe
from archipel.records.statements import RunOpened
from archipel.release.stages import Came, Outcome, Stage

Tell = Callable[[str], None]
Ended = tuple[Came, str]
"""(what came of it, why)"""


@dataclass(frozen=True)
class Subject:
    """A release whose bytes were found to be those that were signed."""

    story: RunStory
    blobs: Blobs
    secret: bytes | None
    known_recipes: tuple[str, ...]
    """See `recomputing.Asked`."""
    scratch: Path
    """Lasting, of this release alone: what a later call goes on from."""
    threads: int
    machine: str
    """Class of this one."""

    @property
    def opened(self) -> RunOpened:
        """The run's opening.

        Raises:
            Mendable: there is no such run.
        """
        if self.story.opened is None:
            raise Mendable(f"this ledger opens no run {self.story.name!r:.80}")
        return self.story.opened


@dataclass
class Rebuild:
    """One call of the command."""

    subject: Subject
    release: str
    """Digest of its release.json."""
    stages: tuple[Stage, ...]
    asked: tuple[Stage, ...]
    came: dict[str, Outcome]
    """By the stage's name; of earlier calls, too."""
    by_its_code: bool
    """This software is the very source that the release brings."""
    stopped: bool = False


class Rebuilding:
    """Of one release."""

    def __init__(self, subject: Subject, tell: Tell) -> None:
        self.subject, self.tell = subject, tell
        asked = Asked(
            rewards=False,
            updates=ALL,
            evaluations=None,
            secret=subject.secret,
            known_recipes=subject.known_recipes,
            scratch=subject.scratch,
        )
        self.recomputing = Recomputing(
            subject.story, subject.opened, subject.blobs, self.findings(), asked
        )

    @property
    def recipe(self) -> Recipe:
        """The run's, if it may run here. Raises NotKept, Altered, Mendable."""
        return self.recomputing.recipe()

    def model(self, *, weights: bool) -> Path:
        """The directory that the run began with, or all of it but the weights. Raises NotKept, Altered."""
        folder = self.subject.scratch / ("initial" if weights else "initial-words")
        return self.recomputing.model(folder, weights=weights)

    def findings(self) -> Findings:
        """Of one kind of stages; nothing yet."""
        return Findings(self.tell, withdrawn=self.subject.story.taken_out)


class Before:
    """What was found before, so that what is new tells what came of a stage."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._mark()

    def came(self) -> Ended:
        """Since then, or since it was last asked."""
        faults = self._findings.faults[self._faults :]
        missing = [
            why
            for (what, why), num in self._findings.missing.items()
            if num > self._missing.get((what, why), 0)
        ]
        self._mark()
        if faults:
            more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
            return "differs", f"{faults[0]}{more}"
        return ("not shown", missing[0]) if missing else ("equal", "")

    def _mark(self) -> None:
        self._faults, self._missing = len(self._findings.faults), dict(self._findings.missing)


@contextmanager
def faulty(*kinds: type[Exception]) -> Iterator[None]:
    """These errors say that bytes of the release are not what they should be.

    Raises:
        Altered: accordingly.
    """
    all_kinds: tuple[type[Exception], ...] = (BadPayload, *kinds)
    try:
        yield
    except all_kinds as error:
        raise Altered(f"{error}") from None
