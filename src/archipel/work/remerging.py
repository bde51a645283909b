"""Merges made again from public bytes by somebody whom nobody has to trust.

Parts: `Remerging`, `Stages` (what is equal, one digest for each stage). Law: it is the trusted role's own merge, from
what anybody may fetch: weights or a published memory to begin with, payloads, and held-out text once it is revealed.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from archipel.model.config import DecoderConfig
from archipel.model.manifest import describe
from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.merge import MergeAnswer
from archipel.records.programmes.pretrain import PretrainPace
from archipel.training.merging.commitment import BadText, revealed
from archipel.work.contributing import narrowed, widened
from archipel.work.kind import WorkFailed
from archipel.work.merged import Read, Standing, merged, read_standing, saved
from archipel.work.policies import Policy


class NotAgain(ValueError):
    """A merge cannot be made again; the message says why."""


@dataclass(frozen=True)
class Stage:
    """One part of what a merge makes."""

    name: str
    published: str
    """Digest of what the ledger says."""
    made: str
    """Digest of what comes out here."""

    @property
    def equal(self) -> bool:
        """In every bit."""
        return self.published == self.made


class Remerging:
    """Of one run, version after version."""

    def __init__(
        self, standing: Standing, pace: PretrainPace, config: DecoderConfig, recipe: str
    ) -> None:
        """recipe: its digest, which a memory names."""
        self.standing = standing
        self._pace, self._config, self._recipe = pace, config, recipe

    def next(
        self, answer: MergeAnswer, inputs: Sequence[AcceptedWork], bound: str | None, read: Read
    ) -> tuple[Stage, ...]:
        """Make the next version, and hold it against what was published.

        bound: digest to which the held-out text was bound; read: brings blobs.

        Raises:
            NotAgain: the ledger's own bytes are none from which anything can be made.
        """
        text = None
        if answer.gate is not None:
            try:
                data = read(answer.gate)
                text = revealed(data, (bound or "").removeprefix("sha256:"))
            except BadText as error:
                raise NotAgain(f"the held-out text of version {answer.version}: {error}") from None
        gate = None if text is None else (text, self._config)
        try:
            outcome = merged(self.standing, inputs, read, self._pace, gate)
        except WorkFailed as error:
            raise NotAgain(str(error)) from None
        return tuple(self._stages(answer, outcome.verdicts, outcome.standing))

    def _stages(
        self, answer: MergeAnswer, verdicts: Sequence[dict], after: Standing | None
    ) -> list[Stage]:
        said = [each.model_dump(mode="json", exclude_none=True) for each in answer.verdicts]
        stages = [Stage("verdicts", _digest(said), _digest(list(verdicts)))]
        if after is None:
            return [*stages, Stage("weights", answer.policy, "none: every contribution is refused")]
        state = narrowed(after.weights)
        stages.append(Stage("weights", answer.policy, describe(state, after.version, None).state))
        if answer.memory is not None:
            stages.append(Stage("memory", answer.memory.digest, self._memory(after)))
        self.standing = after
        return stages

    def _memory(self, standing: Standing) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = saved(standing, Path(folder), {"recipe": self._recipe})
            return sha256_digest(path.read_bytes())


def standing_of(policy: Policy) -> Standing:
    """Where version 0 stands, by the weights that were published."""
    return Standing(0, widened(policy.state), {})


def standing_at(path: Path, version: int) -> Standing:
    """Where a version stands, by its published memory. Raises NotAgain: it is of another."""
    try:
        standing = read_standing(path)
    except ValueError as error:
        raise NotAgain(f"the memory of version {version}: {error}") from None
    if standing.version != version:
        raise NotAgain(f"the memory of version {version} says that it is of {standing.version}")
    return standing


def _digest(said: list[dict]) -> str:
    return sha256_digest(canonical_json(said))
