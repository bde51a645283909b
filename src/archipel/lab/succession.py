"""May this lab continue that ledger, and which of its runs go on? Pure; part of `apply`.

Law: who decides is known from the ledger's prefix alone. A run goes on if a key that its charter names agreed, or owners of
more than half of its shares that vote; where its charter names nobody, also if one agreed that the lab named. All other runs
are stopped; every balance stays. A ledger has one succession at a time: it stands right behind its prefix, so of two that
continue the same prefix neither can stand behind the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from archipel.lab import drawing, endings, owning, pauses
from archipel.lab.providers import account_of
from archipel.lab.state import OPEN_PHASES, LabState, Phase, Run
from archipel.lab.successions import Succession
from archipel.market.ownership import TREASURY
from archipel.market.voting import line
from archipel.records.changed import changed
from archipel.records.membership import read_signed
from archipel.records.succession import MAX_SUCCESSIONS, Agreement, LabSucceeded


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of the runs that are open."""

    goes_on: tuple[str, ...]
    stops: tuple[tuple[str, str], ...]
    """(run, why)"""


def succeeded(state: LabState, said: LabSucceeded, at_ms: int) -> LabState:
    """The ledger is the successor's from here on; runs that nobody let go on are stopped.

    Raises:
        ValueError: it does not continue this ledger, or not enough agreed.
    """
    if (said.lab, said.predecessor, said.size) != (said.author, state.lab, state.size):
        raise ValueError(
            f"{said.author} continues {said.predecessor} from {said.size} entries on, for lab {said.lab}; expected "
            f"{state.lab} from {state.size} on, by the successor for itself"
        )
    former = {each.predecessor for each in state.succeeded}
    if said.author == state.lab or said.author in former:
        raise ValueError(
            f"{said.author} has written this ledger before; a successor has a key of its own"
        )
    if len(state.succeeded) >= MAX_SUCCESSIONS:
        raise ValueError(f"this ledger was succeeded {MAX_SUCCESSIONS} times; expected fewer")
    verdict = judged(state, signers(said))
    for name, _ in verdict.stops:
        state = stopped(state, name, at_ms)
    return changed(
        state,
        lab=said.author,
        operators=frozenset(said.operators),
        successors=None,
        succeeded=(*state.succeeded, Succession(state.size, said.predecessor)),
    )


def signers(said: LabSucceeded) -> frozenset[str]:
    """Keys that agreed to it: the successor's own, and those beside it. Their signatures are looked at where an entry is read.

    Raises:
        NotSigned: an agreement is none.
    """
    return frozenset((said.author, *(read_signed(Agreement, each).by for each in said.agreements)))


def judged(state: LabState, agreed: Iterable[str]) -> Judged:
    """Which runs go on when these keys agreed.

    Raises:
        ValueError: not even one does, and the lab named none of these keys.
    """
    agreed = frozenset(agreed)
    runs = [run for name in state.live if (run := state.runs[name]).phase in OPEN_PHASES]
    found = [(run.name, why_stopped(state, run, agreed)) for run in runs]
    goes_on = tuple(name for name, why in found if why is None)
    if not goes_on and not _is_named(state, agreed) and not _is_rest_agreed(state, runs, agreed):
        raise ValueError(
            f"none of {_words(tuple(sorted(agreed)))} may continue this ledger: the lab named {_words(_dids(state))}, and "
            + ("; ".join(f"{name}: {why}" for name, why in found) or "no run is open")
        )
    return Judged(goes_on, tuple((name, why) for name, why in found if why is not None))


def why_stopped(state: LabState, run: Run, agreed: frozenset[str]) -> str | None:
    """Why a run does not go on; None: it does. Says who would have had to agree."""
    charter = run.opened.pace.charter
    chosen = tuple(each.did for each in (charter and charter.successors) or ())
    may = chosen or _dids(state)
    if not agreed.isdisjoint(may):
        return None
    who = "its charter" if chosen else "the lab"
    if charter is None:
        return f"none of those that {who} named agreed ({_words(may)}), and without a charter it has no owners"
    units, needed = agreed_units(state, run, agreed)
    if units >= needed:
        return None
    return f"none of those that {who} named agreed ({_words(may)}), and of its shares {units} did; {needed} would do"


def agreed_units(state: LabState, run: Run, agreed: frozenset[str]) -> tuple[int, int]:
    """(units of those that agreed, units that suffice): more than half of what votes, as of this prefix.

    Whoever delegated its votes to one that agreed agrees with it, if it did not sign itself.
    """
    owned = state.owned[run.name]
    held = dict(owned.held) if owned.issued else owning.would_hold(state, run)
    held.pop(TREASURY, None)
    speaking = {did for did in agreed if account_of(state, did) == did}
    units = sum(
        units
        for holder, units in held.items()
        if not speaking.isdisjoint(line(holder, owned.delegates))
    )
    return units, sum(held.values()) // 2 + 1


def stopped(state: LabState, name: str, at_ms: int) -> LabState:
    """The state when a run hands nothing out any more."""
    run = pauses.ended(state.runs[name], at_ms)
    state = endings.with_run(state, changed(run, phase=Phase.STOPPED))
    return drawing.stopped(state, name, at_ms)


def _is_rest_agreed(state: LabState, open_runs: list[Run], agreed: frozenset[str]) -> bool:
    """Where nothing is open any more, those who may continue any run may look after what is left."""
    if open_runs:
        return False
    return any(why_stopped(state, run, agreed) is None for run in state.runs.values())


def _is_named(state: LabState, agreed: frozenset[str]) -> bool:
    return not agreed.isdisjoint(_dids(state))


def _dids(state: LabState) -> tuple[str, ...]:
    return () if state.successors is None else state.successors.dids


def _words(dids: tuple[str, ...]) -> str:
    return ", ".join(dids) or "nobody"
