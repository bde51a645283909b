"""What a verification found: what was checked, what does not hold, what was not checked and why.

Law: whatever could not be looked at is counted among what was not checked, with the reason; a fault is
something that was looked at and does not hold.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from archipel.cli.run_blobs import Altered, Blobs, NotKept
from archipel.cli.telling import Tell, seldom
from archipel.lab.run_story import RunStory
from archipel.records.documents import AcceptedWork
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.payload import BadPayload
from archipel.records.rollouts import Rollout, bounds_of, unpack_rollouts

MAX_WITHDRAWN_SHOWN = 50


@dataclass
class Findings:
    """Of one verification."""

    tell: Tell
    """Told what is being looked at, now and then."""
    checked: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(what, why it could not be looked at) -> how often."""
    limits: list[str] = field(default_factory=list)
    """What was not asked for, or can never be shown."""
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    """Results that a verdict took out of the run -> why; what does not hold of them is no fault of the run."""
    progress: Tell = field(init=False)
    """Told where we are."""
    moot: dict[str, str] = field(default_factory=dict)
    """Of these, those that were looked at all the same -> what was found."""

    def __post_init__(self) -> None:
        self.progress = seldom(self.tell)

    def not_checked(self) -> list[str]:
        """One line each."""
        counted = [f"{num} {what}: {why}" for (what, why), num in self.missing.items()]
        return [*counted, *self.limits]

    @contextmanager
    def looking(self, what: str, name: str, *faults: type[Exception]) -> Iterator[None]:
        """At the one of `what` that is called `name`; these errors, and other bytes, are faults."""
        kinds: tuple[type[Exception], ...] = (Altered, *faults)
        try:
            yield
        except NotKept as reason:
            self.missing[what, str(reason)] += 1
        except kinds as fault:
            self.fault(name, str(fault))

    def fault(self, name: str, said: str) -> None:
        """The thing of this name does not hold; a withdrawn one need not."""
        if name in self.withdrawn:
            self.moot[name] = said
        else:
            self.faults.append(f"{name}: {said}")

    def told_withdrawn(self) -> list[str]:
        """One line for each result that was withdrawn."""
        return [
            f"{name}: {why}" + (f"; looked at here: {self.moot[name]}" if name in self.moot else "")
            for name, why in self.withdrawn.items()
        ]


def withdrawn_lines(findings: Findings) -> Iterator[str]:
    """For people; nothing where nothing was withdrawn."""
    if told := findings.told_withdrawn():
        yield "withdrawn by verdicts, and in no version:"
        yield from (f"  {line}" for line in told[:MAX_WITHDRAWN_SHOWN])
        if len(told) > MAX_WITHDRAWN_SHOWN:
            yield f"  and {len(told) - MAX_WITHDRAWN_SHOWN} more (--json)"


def rollouts_of(story: RunStory, blobs: Blobs, each: AcceptedWork) -> dict[int, list[Rollout]]:
    """Group -> rollouts of one result, checked as the lab had to.

    Raises:
        NotKept, Altered, BadPayload: there is no such result here, or it is not what was accepted.
    """
    spec, answer = each.spec, each.answer
    if not isinstance(spec, RolloutSpec) or not isinstance(answer, RolloutAnswer):
        raise BadPayload(f"{each.work} is {spec.kind} work, expected rollout")
    bounds = bounds_of(story.pace, work=each.work, policy=spec.policy, num_groups=len(spec.groups))
    unpacked = unpack_rollouts(blobs.read(answer.result), bounds)
    groups = dict(zip(spec.groups, unpacked, strict=True))
    counted = sum(one.num_sampled for group in groups.values() for one in group)
    if counted != answer.num_tokens:
        raise BadPayload(f"num_tokens says {answer.num_tokens}, the payload has {counted}")
    return groups
