"""Which open case a node that asks may look at. Pure; part of `kinds.audit`.

Law: nobody looks at an answer of its own operator, nor at one that a node of its operator held before.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from archipel.lab.audits import audits, terms, usual_ms
from archipel.lab.calling import Electorate, may_be_called, may_come, next_turn_ms, turn_of
from archipel.lab.cases import Case, Stage
from archipel.lab.chain import version_of
from archipel.lab.reputation import MAX_REFUTED
from archipel.lab.rules import Asking, Crowd
from archipel.lab.state import Run
from archipel.records.kinds import WORDS_OF
from archipel.records.membership import MAX_KEYS_PER_OPERATOR
from archipel.records.words import Needs

TURNS_IN_DEADLINE = 16
"""Whoever is called to an audit is waited for as long as the answer took, as answers take (`usual_ms`), and so much of
an audit's least deadline."""


FOREVER_MS = 1 << 62
MOST_KEPT = 4
"""Of what was found last."""
Called = frozenset[str] | None
"""Parties that may be called to a case; None: whoever asks may look."""
Turn = tuple[Case, int, Called]


@dataclass(frozen=True, slots=True)
class Open:
    """What is the same for whoever asks, until a case changes or somebody else's turn comes: the cases that may be had."""

    run: Run
    voters: Electorate
    from_ms: int
    until_ms: int
    """Then the next is called to one of them."""
    cases: tuple[Case, ...] = ()
    """The oldest first."""
    appeals: tuple[Case, ...] = ()
    """Of these, those that wait for the trusted role alone."""
    most_involved: int = 0
    """Keys that the parties to any other one of these have at the very most."""
    turns: tuple[Turn, ...] = ()
    """Of these, those that strangers may look at."""
    called: Called = frozenset()
    """To any of them."""


def oldest_for(asking: Asking) -> Case | None:
    """The oldest open case that this node may look at. Asked of each node that waits: what is told soonest comes first."""
    found, did = _open(asking.run, asking.crowd.voters, asking.now_ms), asking.node.did
    if did in asking.run.opened.trusted:
        return next((case for case in _judged(asking, found) if _may_judge(asking, case)), None)
    party = found.voters.nodes.get(did)
    if asking.node.standing.refuted >= MAX_REFUTED or not _is_in(party, found.called):
        return None
    for case, turn, called in found.turns:
        if _is_in(party, called):
            involved = _involved(asking, case)
            if did not in involved and may_come(found.voters, case, turn, did, involved):
                return case
    return None


def _is_in(party: str | None, called: Called) -> bool:
    return called is None or party in called


_last: list[Open] = []
"""What was found last: all that wait are asked of the same runs, one after another, and most entries change no case."""


def may_look(run: Run, crowd: Crowd, now_ms: int, did: str) -> bool:
    """Whether this node is called to any open case, or is one of the trusted role; `oldest_for` finds none otherwise."""
    found = _open(run, crowd.voters, now_ms)
    return _is_in(found.voters.nodes.get(did), found.called) or did in run.opened.trusted


def called(run: Run, crowd: Crowd, now_ms: int) -> frozenset[str] | None:
    """Strangers who are called to any open case; None: anybody may be."""
    found = _open(run, crowd.voters, now_ms)
    if found.called is None:
        return None
    nodes = _nodes_of(found.voters)
    return frozenset(chain.from_iterable(nodes.get(party, ()) for party in found.called))


@lru_cache(maxsize=16)
def _nodes_of(voters: Electorate) -> dict[str, list[str]]:
    """Party -> its nodes."""
    nodes = dict[str, list[str]]()
    for did, party in voters.nodes.items():
        nodes.setdefault(party, []).append(did)
    return nodes


def _open(run: Run, voters: Electorate, now_ms: int) -> Open:
    for last in _last:
        if last.voters is voters and last.from_ms <= now_ms < last.until_ms and _as_was(run, last):
            return last
    found = _found(run, voters, now_ms)
    _last[:] = [found, *_last[: MOST_KEPT - 1]]
    return found


def _as_was(run: Run, last: Open) -> bool:
    """Whether all that the cases are told by is as it was then."""
    then = last.run
    if then is run:
        return True
    known, knew = audits(run), audits(then)
    return (
        known.cases is knew.cases
        and known.closed is knew.closed
        and run.chain is then.chain
        and run.opened is then.opened
    )


def _found(run: Run, voters: Electorate, now_ms: int) -> Open:
    wanting = [case for case in audits(run).cases.values() if case.wants_trusted]
    cases = sorted(
        (case for case in wanting if version_of(run, needs_of(case).weights or 0) is not None),
        key=lambda case: case.answer.entry,
    )
    known = terms(run)
    least_ms = 0 if known is None else known.deadline_ms // TURNS_IN_DEADLINE
    least_ms = max(least_ms, usual_ms(run))
    knew = {told[0].work: told for told in _told(voters)}
    may = tuple(
        _turn(voters, case, turn_of(case, least_ms, now_ms), knew.get(case.work))
        for case in cases
        if case.wants_strangers
    )
    some = [each for _, _, each in may if each is not None]
    called = frozenset[str]().union(*some) if len(some) == len(may) else None
    parties = max((1 + len(case.tried) for case, _, _ in may), default=0)
    return Open(
        run,
        voters,
        now_ms,
        min((next_turn_ms(case, least_ms, now_ms) for case, _, _ in may), default=FOREVER_MS),
        tuple(cases),
        tuple(case for case in cases if case.stage is Stage.APPEAL),
        parties * MAX_KEYS_PER_OPERATOR,
        may,
        called,
    )


def _told(voters: Electorate) -> tuple[Turn, ...]:
    """What was found last of the same voters: most cases are as they were."""
    return next((last.turns for last in _last if last.voters is voters), ())


def _turn(voters: Electorate, case: Case, turn: int, told: Turn | None) -> Turn:
    if told is not None and told[0] is case and told[1] == turn:
        return told
    return case, turn, may_be_called(voters, case, turn)


def _judged(asking: Asking, found: Open) -> tuple[Case, ...]:
    """Cases that one of the trusted role might look at, told without looking at whose each is: of those that are no
    appeals, only where all that is known of could be of the parties involved.
    """
    others = asking.crowd.count - asking.is_counted
    if others > found.most_involved:
        return found.appeals
    return found.cases


def _may_judge(asking: Asking, case: Case) -> bool:
    """Whether one of the trusted role may look."""
    if case.stage is Stage.APPEAL:
        return is_unrelated(asking, case)
    return _nobody_else(asking, case) and is_unrelated(asking, case)


def is_unrelated(asking: Asking, case: Case) -> bool:
    """Whether the node may judge this answer: it is of another operator, of which nobody has looked yet."""
    return asking.node.did not in _involved(asking, case)


def _involved(asking: Asking, case: Case) -> frozenset[str]:
    """Whose answer it is and who looked already, with all others of their operators."""
    return frozenset().union(*(asking.here(did) for did in (case.answer.party, *case.tried)))


def _nobody_else(asking: Asking, case: Case) -> bool:
    """Whether no stranger is at work who could look: all who could have, or are the node itself."""
    others = asking.crowd.count - asking.is_counted
    if others > sum(asking.num_keys(did) for did in (case.answer.party, *case.tried)):
        return False
    return others <= len(_involved(asking, case))


def needs_of(case: Case) -> Needs:
    """What the audited answer was made from."""
    spec = case.answer.done.spec
    needs: Needs = WORDS_OF[spec.kind].needs(spec)
    return needs
