"""Rollouts of an exact run recomputed as its ledger and blobs tell them: which results, and what came of each."""

import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.cli.doors import Mendable
from archipel.cli.findings import Findings, rollouts_of
from archipel.cli.run_blobs import Blobs, NotKept
from archipel.cli.run_weights import each_version, nearest_anchor
from archipel.lab.run_story import RunStory
from archipel.plurals import counted
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.payload import BadPayload

if TYPE_CHECKING:
    from archipel.engine.exact.trace import Question
    from archipel.work.policies import Policy
    from archipel.work.replaying import Replaying

WHAT = "results recomputed"
EQUAL = "rollouts whose tokens and log-probabilities were recomputed: equal"
CONFIG = "config.json"


def sampled_works(works: Iterable[str], num: int, seed: int) -> list[str]:
    """`num` of them by chance, in their order; the same seed takes the same."""
    listed = list(works)
    if num >= len(listed):
        return listed
    taken = set(random.Random(seed).sample(range(len(listed)), num))  # noqa: S311  a choice, no secret
    return [work for index, work in enumerate(listed) if index in taken]


@dataclass
class ReplayedRun:
    """What was recomputed so far."""

    results: int = 0
    rollouts: int = 0
    positions: int = 0
    """Tokens, each with its log-probability."""
    differences: list[str] = field(default_factory=list)
    """The first of each result that differs, a sentence each."""
    withdrawn: int = 0
    """Results that differ, and that a verdict has taken out of the run."""
    question: "Question | None" = None
    """The first rollout that differs."""

    def __str__(self) -> str:
        if not self.results:
            return "nothing was recomputed"
        told = "equal" if not self.differences else f"{len(self.differences)} results differ"
        if self.withdrawn:
            count = counted(self.withdrawn, "withdrawn result")
            told = f"{count} {'differs' if self.withdrawn == 1 else 'differ'}, all others: {told}"
        return (
            f"tokens and log-probabilities of {self.rollouts} rollouts in {self.results} results "
            f"({self.positions} positions) recomputed: {told}"
        )


class RunReplay:
    """Recomputes the results named by `works`, whenever the weights of their versions are at hand."""

    def __init__(
        self, story: RunStory, blobs: Blobs, findings: Findings, works: Sequence[str]
    ) -> None:
        """Begin.

        Raises:
            Mendable: the run is not exact, its contract is unknown here, or there is no such result.
            NotKept, Altered: its model's configuration is not to be had.
        """
        self._story, self._blobs, self._findings = story, blobs, findings
        self._by_version: dict[int, list[str]] = {}
        for work in works:
            self._by_version.setdefault(self._version_of(work), []).append(work)
        self.done = ReplayedRun()
        self._replaying = self._begun()

    def run(self) -> None:
        """All of them, beginning at the nearest anchor."""
        if not self._by_version:
            return
        first = nearest_anchor(self._story, min(self._by_version))
        for number, policy in each_version(
            self._story, self._blobs, self._findings, first, max(self._by_version)
        ):
            self.at(number, policy)

    def at(self, version: int, policy: "Policy | None") -> None:
        """Recompute the results that were sampled from this version."""
        from archipel.work.replaying import CANNOT_BE_REPLAYED

        works = self._by_version.get(version, ())
        if policy is None:
            for _ in works:
                self._findings.missing[
                    WHAT, f"the weights of version {version} are not to be had"
                ] += 1
            return
        if works:
            name = f"version {version}"
            with self._findings.looking(WHAT, name, *CANNOT_BE_REPLAYED):
                self._replaying.use(policy)
                for work in works:
                    with self._findings.looking(WHAT, work, BadPayload, *CANNOT_BE_REPLAYED):
                        self._one(work)

    def _one(self, work: str) -> None:
        each, done = self._story.results[work], self.done
        spec, answer = each.spec, each.answer
        groups = rollouts_of(self._story, self._blobs, each)
        if not isinstance(spec, RolloutSpec) or not isinstance(answer, RolloutAnswer):
            raise BadPayload(f"it is {spec.kind} work, expected rollout")
        if answer.exact != self._story.pace.exact:
            raise BadPayload(
                f"sampled by {answer.exact or 'no exact contract'}, the run asks for {self._story.pace.exact}"
            )

        def progress(positions: int) -> None:
            self._findings.progress(f"{work}: {done.positions + positions} positions recomputed")

        progress(0)
        found = self._replaying.replay(spec, groups, progress)
        done.results += 1
        done.rollouts += found.rollouts
        done.positions += found.positions
        if found.difference is None:
            self._findings.checked[EQUAL] += found.rollouts
            if work in self._findings.withdrawn:
                self._findings.moot[work] = "recomputed, and equal"
            return
        if done.question is None:
            done.question = self._replaying.question(spec, groups, found.difference)
        self._findings.fault(work, str(found.difference))
        if work in self._findings.withdrawn:
            done.withdrawn += 1
        else:
            done.differences.append(f"{work}: {found.difference}")

    def _version_of(self, work: str) -> int:
        each = self._story.results.get(work)
        if each is None or not isinstance(each.spec, RolloutSpec):
            raise Mendable(f"run {self._story.name} has no accepted result {work!r:.80}")
        if each.spec.version >= len(self._story.updates):
            raise Mendable(
                f"{work} was sampled from version {each.spec.version}, which was never published"
            )
        return each.spec.version

    def _begun(self) -> "Replaying":
        from archipel.model.config_files import InvalidModel, read_config
        from archipel.work.asked import wording_by
        from archipel.work.bases import read_base
        from archipel.work.replaying import Replaying, UnknownContract

        pace = self._story.pace
        try:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                (folder / CONFIG).write_bytes(self._config())
                base = None
                if pace.adapter is not None or pace.stop is not None:
                    self._lay_files(folder)
                if pace.adapter is not None:
                    base = read_base(folder)
                wording = wording_by(pace, folder)
                return Replaying(read_config(folder), pace, self._blobs.read, base, wording)
        except (UnknownContract, InvalidModel) as error:
            raise Mendable(f"run {self._story.name}: {error}") from None

    def _lay_files(self, folder: Path) -> None:
        """The tokenizer, and what the run's adapters lie over, as links."""
        from archipel.node.operator import needed_files

        opened = self._story.opened
        if opened is None:
            return
        names = needed_files(opened, trusted=False)
        for file in opened.model:
            if file.name in names and file.name != CONFIG:
                (folder / file.name).symlink_to(self._blobs.path(file.blob).absolute())

    def _config(self) -> bytes:
        opened = self._story.opened
        files = {} if opened is None else {file.name: file.blob for file in opened.model}
        if CONFIG not in files:
            raise NotKept(f"the opening of run {self._story.name} names no {CONFIG}")
        return self._blobs.read(files[CONFIG])
