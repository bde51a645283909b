"""What a run of pretraining came to, by its ledger and what was seen of its members' ends. Pure.

Parts: `Stopped`, `Slowed` (what the ledger does not say), `Outcome`, `outcome_of`.
Laws: tokens are counted once, as merged, or answered and not merged, or trained in vain. Where a member that was ended
could not say how far it was, its whole work counts as trained.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.kinds.inner_step import InnerStepAnswer, InnerStepSpec
from archipel.records.kinds.merge import MergeAnswer
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.statements import (
    LeaseGranted,
    NodeJoined,
    Recorded,
    RunOpened,
    WorkAnswered,
)

MICRO = 1_000_000
History = Sequence[tuple[int, Recorded]]
"""(received at, Unix milliseconds; statement)."""


@dataclass(frozen=True)
class Stopped:
    """A member was ended, or its run was over."""

    node: str
    at_ms: int
    tokens: int | None
    """It had trained on so many for the work at hand; None: it did not say."""


@dataclass(frozen=True)
class Slowed:
    """A member's work process ran a share of the time."""

    node: str
    from_ms: int
    to_ms: int
    share: float


@dataclass(frozen=True)
class Watched:
    """What was seen of the members of one run."""

    nodes: Collection[str]
    """Keys of all that were ever started."""
    stopped: Sequence[Stopped] = ()
    slowed: Sequence[Slowed] = ()


@dataclass(frozen=True)
class Outcome:
    """Of one run, from version 0 to the last."""

    seconds: float
    step_s: float
    """Of an outer step, in the median."""
    merged: int
    """Tokens of contributions that are in a version."""
    unmerged: int
    """Tokens of contributions that were answered, and are in none."""
    in_vain: int
    """Tokens trained for work that was never answered."""
    contributions: tuple[int, ...]
    """Merged in each version, from 1 on."""
    late: int
    """Of them, those to an earlier version than the one before."""
    void: int
    """Merges that took in nothing."""
    there: float
    """Share of all members' time in which one had joined and ran; a slowed one counts with its share."""
    losses: dict[int, float]
    """Version -> held-out loss, nats per token."""
    moments: dict[int, float]
    """Version -> seconds after version 0."""

    @property
    def per_s(self) -> float:
        """Goodput: tokens merged a second."""
        return self.merged / self.seconds

    @property
    def kept(self) -> float:
        """Share of the tokens trained that were merged."""
        return self.merged / (self.merged + self.unmerged + self.in_vain)

    @property
    def loss(self) -> float:
        """Held-out loss of the newest version that was examined."""
        return self.losses[max(self.losses)]


@dataclass
class _Heard:
    """A ledger's statements about the one run in it, by what they are."""

    pace: PretrainPace | None = None
    grants: dict[str, tuple[int, str, InnerStepSpec]] = field(default_factory=dict)
    """Work -> (when, to whom, what was asked)."""
    answers: dict[str, InnerStepAnswer] = field(default_factory=dict)
    merges: list[tuple[int, MergeAnswer]] = field(default_factory=list)
    losses: dict[int, float] = field(default_factory=dict)
    joined: list[tuple[int, str]] = field(default_factory=list)

    def hear(self, at_ms: int, said: Recorded) -> None:
        match said:
            case RunOpened(pace=PretrainPace() as pace):
                self.pace = pace
            case NodeJoined():
                self.joined.append((at_ms, said.author))
            case LeaseGranted(spec=InnerStepSpec() as spec):
                self.grants[said.work] = (at_ms, said.node, spec)
            case WorkAnswered(answer=InnerStepAnswer() as answer):
                self.answers[said.work] = answer
            case WorkAnswered(answer=MergeAnswer() as answer):
                self.merges.append((at_ms, answer))
            case WorkAnswered(answer=EvaluateAnswer() as answer):
                self.losses[answer.version] = answer.metrics["loss_micro"] / MICRO


def outcome_of(history: History, watched: Watched) -> Outcome:
    """What came of the one run of pretraining that this ledger holds.

    Raises:
        ValueError: it opens none, or has made no version after 0.
    """
    heard = _Heard()
    for at_ms, said in history:
        heard.hear(at_ms, said)
    published = [(at_ms, made) for at_ms, made in heard.merges if made.void is None]
    if heard.pace is None or len(published) < 2:
        raise ValueError(f"{len(published)} versions in this ledger; expected version 0 and more")
    began_ms, ended_ms = published[0][0], published[-1][0]
    moments = {made.version: (at_ms - began_ms) / 1000 for at_ms, made in published}
    times = list(moments.values())
    taken = {
        verdict.work: made.version
        for _, made in published
        for verdict in made.verdicts
        if verdict.merged
    }
    answered = {work: answer.num_tokens for work, answer in heard.answers.items()}
    return Outcome(
        seconds=times[-1],
        step_s=median(after - before for before, after in pairwise(times)),
        merged=sum(answered[work] for work in taken),
        unmerged=sum(tokens for work, tokens in answered.items() if work not in taken),
        in_vain=_in_vain(heard, watched.stopped, heard.pace.tokens_per_step),
        contributions=tuple(
            sum(verdict.merged for verdict in made.verdicts) for _, made in published[1:]
        ),
        late=sum(heard.grants[work][2].version + 1 < version for work, version in taken.items()),
        void=len(heard.merges) - len(published),
        there=_there(heard.joined, watched, (began_ms, ended_ms)) / heard.pace.members,
        losses=heard.losses,
        moments=moments,
    )


def _in_vain(heard: _Heard, stopped: Sequence[Stopped], tokens_per_step: int) -> int:
    """Trained for work that was not answered: all that was asked, unless its member was ended in the middle of it."""
    trained = {
        work: spec.steps * tokens_per_step
        for work, (_, _, spec) in heard.grants.items()
        if work not in heard.answers
    }
    known: set[str] = set()
    for each in sorted(stopped, key=lambda each: each.at_ms):
        held = [
            (at_ms, work)
            for work, (at_ms, node, _) in heard.grants.items()
            if node == each.node and at_ms <= each.at_ms
        ]
        work = max(held)[1] if held else ""
        if work in trained and work not in known:
            known.add(work)
            if each.tokens is not None:
                trained[work] = min(trained[work], each.tokens)
    return sum(trained.values())


def _there(joined: Sequence[tuple[int, str]], watched: Watched, span: tuple[int, int]) -> float:
    """How many members there were in the mean of the time `span` (Unix milliseconds)."""
    total = 0.0
    ends = sorted((each.at_ms, each.node) for each in watched.stopped)
    for node in watched.nodes:
        mine = [at_ms for at_ms, did in joined if did == node]
        until = 0
        for at_ms in mine:
            if at_ms < until:
                continue  # it joined anew without having been away
            until = next((end for end, did in ends if did == node and end > at_ms), span[1])
            total += _overlap((at_ms, until), span)
    for slow in watched.slowed:
        total -= (1 - slow.share) * _overlap((slow.from_ms, slow.to_ms), span)
    return total / (span[1] - span[0])


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> int:
    return max(0, min(one[1], other[1]) - max(one[0], other[0]))
