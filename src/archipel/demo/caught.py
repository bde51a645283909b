"""What the ledger says of the node that cheats: what it forged, who found it out, what that cost it. Pure.

The history is folded as anybody would fold it: nothing here is remembered by the demo, or believed to the node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archipel.bench.cheating import is_forged
from archipel.demo.aftermath import History, accepted_groups
from archipel.lab.apply import apply
from archipel.lab.audits import audits, of_party
from archipel.lab.cases import Case, Outcome, Verdict
from archipel.lab.providers import standing_of
from archipel.lab.state import LabState
from archipel.node.totals import price_of
from archipel.plurals import counted
from archipel.records.kinds import Answer
from archipel.records.kinds.audit import AuditAnswer, AuditSpec
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.statements import LeaseGranted, WorkAnswered

HARD = Outcome.HARD.value
SHOWN_DID = 12
"""Characters of a key by which a verdict names it."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One accepted answer of the node."""

    work: str
    groups: tuple[int, ...]
    at_ms: int
    price_micro: int
    is_forged: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The verdict that ended it; a soft one where there is no hard one."""

    outcome: str
    work: str
    number: int
    """Of the unit that was found wrong: the node's first is 1."""
    reason: str
    auditors: tuple[str, ...]
    after_s: float
    """From the answer to the verdict."""
    at_ms: int
    units: int
    """Accepted of it until then."""
    forged: int
    """Of these."""
    paid_micro: int
    """For them."""
    taken_micro: int
    """Of this, taken back."""
    would_have_micro: int
    """Had it gone on at that pace until the last version: an estimate."""
    touched: tuple[int, ...]
    """Versions that had learned from the answer that was found wrong."""
    groups_again: int
    """Groups of its answers that nobody had learned from, withdrawn to be sampled again."""
    again_by: tuple[str, ...]
    """Who did so until now."""


@dataclass(frozen=True, slots=True)
class Cheat:
    """The node over the whole run."""

    units: tuple[Unit, ...]
    audited: int
    """Units that somebody else has recomputed."""
    found: Found | None


@dataclass(frozen=True, slots=True)
class Audited:
    """All audits of the run."""

    answers: int
    drawn: int
    outcomes: Mapping[str, int]
    positions: int
    """Tokens recomputed."""
    share_of_sampling: float
    """Time of auditing over time of sampling, as the nodes state both."""
    honest_accused: int
    """Nodes beside the cheat with any verdict against them."""


def folded(history: History) -> LabState:
    """The lab's state, by its ledger alone."""
    state = LabState(lab=history[0][1].lab)
    for at_ms, statement in history:
        state = apply(state, statement, at_ms)
    return state


def cheat_of(node: str, share: float, run: str, history: History, state: LabState) -> Cheat:
    """What became of `node`, which cheats in this share of its answers to `run`; `state`: of the history, folded."""
    units = units_of(node, share, history)
    works = {unit.work for unit in units}
    answered = {said.work for _, said in history if isinstance(said, WorkAnswered)}
    audited = {
        said.spec.work
        for _, said in history
        if isinstance(said, LeaseGranted)
        and isinstance(said.spec, AuditSpec)
        and said.work in answered
    }
    case = _decisive(node, run, state)
    return Cheat(units, len(works & audited), _found(case, units, history))


def units_of(node: str, share: float, history: History) -> tuple[Unit, ...]:
    """Accepted answers of a node, the oldest first."""
    grants = {
        said.work: (said, said.spec)
        for _, said in history
        if isinstance(said, LeaseGranted) and isinstance(said.spec, RolloutSpec)
    }
    return tuple(
        Unit(
            said.work, spec.groups, at_ms, _paid(grant, said.answer), is_forged(spec.groups[0], share)
        )
        for at_ms, said in history
        if isinstance(said, WorkAnswered) and said.author == node and said.work in grants
        for grant, spec in [grants[said.work]]
    )  # fmt: skip


def _paid(grant: LeaseGranted, answer: Answer) -> int:
    """When it was accepted."""
    return price_of(grant, answer.num_tokens if isinstance(answer, RolloutAnswer) else None)


def _decisive(node: str, run: str, state: LabState) -> tuple[Case, Verdict] | None:
    """The first hard verdict on an answer of the node; the first soft one if there is none."""
    found = [(case, case.verdict) for case in of_party(state.runs[run], node)]
    wrong = [(case, word) for case, word in found if word and word.outcome in (Outcome.HARD, Outcome.SOFT)]  # fmt: skip
    return min(
        wrong, key=lambda each: (each[1].outcome is not Outcome.HARD, each[1].at_ms), default=None
    )


def _found(
    decisive: tuple[Case, Verdict] | None, units: Sequence[Unit], history: History
) -> Found | None:
    if decisive is None:
        return None
    case, verdict = decisive
    until = [unit for unit in units if unit.at_ms <= verdict.at_ms]
    number = next(n for n, unit in enumerate(units, 1) if unit.work == case.work)
    paid = sum(unit.price_micro for unit in until)
    again = {group for unit in units if unit.work in verdict.withdrawn for group in unit.groups}
    redone = {group: who for group, (at_ms, who) in accepted_groups(history).items() if at_ms > verdict.at_ms}  # fmt: skip
    return Found(
        outcome=verdict.outcome.value,
        work=case.work,
        number=number,
        reason=verdict.reason,
        auditors=tuple(each.auditor for each in case.opinions if each.says == "differs"),
        after_s=(verdict.at_ms - case.answer.at_ms) / 1000,
        at_ms=verdict.at_ms,
        units=len(until),
        forged=sum(unit.is_forged for unit in until),
        paid_micro=paid,
        taken_micro=sum(micro for _, micro in verdict.taken),
        would_have_micro=_at_that_pace(case.answer.party, paid, verdict.at_ms, history),
        touched=verdict.touched,
        groups_again=len(again),
        again_by=tuple(dict.fromkeys(redone[group] for group in sorted(again & redone.keys()))),
    )


def _at_that_pace(node: str, paid_micro: int, at_ms: int, history: History) -> int:
    """Pay until `at_ms`, stretched from the node's first lease to the last accepted rollouts."""
    rollouts = [
        (when, said)
        for when, said in history
        if isinstance(said, LeaseGranted) and isinstance(said.spec, RolloutSpec)
    ]
    began = next(when for when, said in rollouts if said.node == node)
    return round(paid_micro * (rollouts[-1][0] - began) / max(at_ms - began, 1))


def audited_of(cheat: str, run: str, history: History, state: LabState) -> Audited:
    """What all audits of a run came to; `state`: of the history, folded."""
    known = audits(state.runs[run])
    answers = [said.answer for _, said in history if isinstance(said, WorkAnswered)]
    sampled = [answer for answer in answers if isinstance(answer, RolloutAnswer)]
    looked = [answer for answer in answers if isinstance(answer, AuditAnswer)]
    busy_ms = sum(answer.busy_ms for answer in sampled)
    return Audited(
        answers=len(sampled),
        drawn=known.drawn,
        outcomes=dict(known.outcomes),
        positions=known.positions,
        share_of_sampling=sum(answer.busy_ms for answer in looked) / max(busy_ms, 1),
        honest_accused=sum(
            standing_of(state, did).soft + standing_of(state, did).hard > 0
            for did in state.nodes
            if did != cheat
        ),
    )


def found_words(found: Found, names: Mapping[str, str]) -> str:
    """After how much of its work, by whom, and on what; keys by the names that `names` gives them."""
    by = ", ".join(names.get(did, f"..{did[-SHOWN_DID:]}") for did in found.auditors)
    what = found.reason.split("; found by")[0]
    return f"after {counted(found.units, 'answer')}, by {by or 'nobody'}: number {found.number}, {found.work}: {what}"
