"""Who may join that is new to a lab, by the rule that its operator put into the ledger. Pure; parts of `admission` and `apply`.

New is who has no node here, no operator that has one, and no balance. Law: the rule stands in the ledger, so whoever
replays it sees that nobody was let in against it. That the head of an effort was a recent one of the lab's, only the
lab looks at: the effort protects nobody but the lab.
"""

from archipel.lab import node_pauses, quarantine, refusals
from archipel.lab.keys import delegation_in, why_barred, why_not_delegated, why_not_revoked
from archipel.lab.membership import Joining, Used
from archipel.lab.providers import account_of, is_here, keys_of
from archipel.lab.state import LabState
from archipel.lab.successions import Named
from archipel.market.journal import wallet
from archipel.records.changed import changed
from archipel.records.membership import (
    Invitation,
    JoiningRuled,
    KeyRevoked,
    NodePaused,
    NodeResumed,
    effort_bits,
    read_signed,
)
from archipel.records.statements import NodeJoined
from archipel.records.succession import SuccessorsNamed
from archipel.records.table import Table

MAX_INVITATIONS = 65_536
"""That are remembered as used; then those that are over are forgotten."""


def ruled(state: LabState, statement: JoiningRuled) -> LabState:
    """Raises ValueError: not by an operator of the lab."""
    why = _why_not_ruled(state, statement)
    if why is not None:
        raise ValueError(why)
    rule = Joining(statement.policy, statement.allowed, statement.effort_bits, statement.places)
    return changed(state, joining=rule)


def _why_not_ruled(state: LabState, statement: JoiningRuled) -> str | None:
    is_own = statement.author in state.operators
    return None if is_own else f"{statement.author} is no operator of this lab"


def named(state: LabState, said: SuccessorsNamed) -> LabState:
    """The state when the lab's operator has said who may continue its ledger. Raises ValueError: it may not say so."""
    why = _why_not_named(state, said)
    if why is not None:
        raise ValueError(why)
    dids = tuple(each.did for each in said.successors)
    return changed(state, successors=Named(state.size, dids) if dids or said.ask else None)


def _why_not_named(state: LabState, said: SuccessorsNamed) -> str | None:
    if said.author not in state.operators:
        return f"{said.author} is no operator of this lab"
    former = {state.lab, *(each.predecessor for each in state.succeeded)}
    own = next((each.did for each in said.successors if each.did in former), None)
    return None if own is None else f"{own} wrote this ledger itself; name another lab's key"


def invitation_in(joined: NodeJoined) -> Invitation | None:
    """The invitation that a node came with. Raises NotSigned: it is none."""
    return None if joined.invitation is None else read_signed(Invitation, joined.invitation)


def party_of(state: LabState, joined: NodeJoined) -> str:
    """Whose node this is, or becomes."""
    said = delegation_in(joined)
    return account_of(state, joined.author) if said is None else said.operator


def is_known(state: LabState, joined: NodeJoined) -> bool:
    """Whether the rule for newcomers has nothing to say to it."""
    did, party = joined.author, party_of(state, joined)
    if did in state.nodes or party in state.providers or wallet(party) in state.book:
        return True
    runs = (state.runs[name] for name in state.live)
    return did in state.operators or any(did in run.opened.trusted for run in runs)


def admit(
    state: LabState,
    statement: NodeJoined | JoiningRuled | KeyRevoked | NodePaused | NodeResumed | SuccessorsNamed,
    now_ms: int,
) -> None:
    """Refuse, or return."""
    match statement:
        case NodeJoined():
            _admit_node(state, statement, now_ms)
        case JoiningRuled():
            _refuse_if(_why_not_ruled(state, statement))
        case SuccessorsNamed():
            _refuse_if(_why_not_named(state, statement))
        case KeyRevoked():
            _refuse_if(why_not_revoked(state, statement))
        case NodePaused() | NodeResumed():
            _refuse_if(node_pauses.why_not(state, statement))


def _admit_node(state: LabState, joined: NodeJoined, now_ms: int) -> None:
    """1 the key may speak, with this delegation  2 it is believed  3 the lab lets it in."""
    _refuse_if(why_not_delegated(state, joined, now_ms))
    quarantine.refuse(state, party_of(state, joined))
    refuse(state, joined, now_ms)


def admit_author(state: LabState, author: str, now_ms: int) -> None:
    """Refuse a key whose operator took its word back, or gave it for a time that is over."""
    _refuse_if(why_barred(state, author, now_ms))


def admit_speaker(state: LabState, author: str, now_ms: int) -> None:
    """Refuse such a key, and who is in quarantine."""
    admit_author(state, author, now_ms)
    quarantine.refuse(state, author)


def _refuse_if(why: str | None) -> None:
    if why is not None:
        raise refusals.NotAllowed(why)


def refuse(state: LabState, joined: NodeJoined, now_ms: int) -> None:
    """Refuse whom the rule does not let in: 1 places  2 the list, or an invitation  3 an effort."""
    rule: Joining = state.joining
    # 1
    if joined.delegation is not None or joined.author in state.delegations:
        _refuse_crowd(state, joined, rule)
    if is_known(state, joined):
        return
    # 2
    named = {joined.author, party_of(state, joined)}
    if rule.policy != "open" and named.isdisjoint(rule.allowed):
        _refuse_uninvited(state, joined, now_ms)
    # 3
    _refuse_idle(state, joined, rule)


def _refuse_crowd(state: LabState, joined: NodeJoined, rule: Joining) -> None:
    said, operator = delegation_in(joined), party_of(state, joined)
    going = {joined.author, None if said is None else said.replaces}
    keys = keys_of(state, operator) if operator in state.providers else ()
    others = sum(key not in going and is_here(state, key) for key in keys)
    if others >= rule.places:
        raise refusals.NotAllowed(
            f"{operator} has {others} nodes here already, and this lab has {rule.places} places for one operator"
        )


def _refuse_uninvited(state: LabState, joined: NodeJoined, now_ms: int) -> None:
    said, who = invitation_in(joined), party_of(state, joined)
    if state.joining.policy == "listed":
        raise refusals.NotAllowed(
            f"only who is on this lab's list may join, and {who} is not; ask its operator to add this key"
        )
    if said is None:
        raise refusals.NotAllowed(
            f"who is new here needs an invitation, and {who} came without one; ask the lab's operator "
            "(`archipel lab invite`) and give it as --invitation"
        )
    if said.lab != state.lab or said.by not in (state.lab, *state.operators):
        raise refusals.NotAllowed(f"the invitation is by {said.by} to {said.lab}, not by this lab")
    if now_ms >= said.until_ms:
        raise refusals.NotAllowed(
            f"the invitation held until {said.until_ms} (Unix milliseconds); ask for a new one"
        )
    used = state.invited.get(said.name)
    if used is not None and used.uses >= said.uses:
        raise refusals.NotAllowed(
            f"the invitation was used {used.uses} times of {said.uses}; ask for a new one"
        )
    if used is None and len(_in_use(state, now_ms)) >= MAX_INVITATIONS:
        raise refusals.Busy(f"{MAX_INVITATIONS} invitations are in use here; try again later")


def _in_use(state: LabState, now_ms: int) -> Table[str, Used]:
    """Invitations that somebody came with; once there are many, those that are over are forgotten."""
    invited: Table[str, Used] = state.invited
    if len(invited) < MAX_INVITATIONS:
        return invited
    return invited.drop(*(name for name, used in invited.items() if used.until_ms <= now_ms))


def _refuse_idle(state: LabState, joined: NodeJoined, rule: Joining) -> None:
    if not rule.effort_bits:
        return
    effort = joined.effort
    if effort is None or effort.size > state.size:
        raise refusals.NotAllowed(
            f"who is new here brings an effort of {rule.effort_bits} bits over a recent tree head; got none"
        )
    bits = effort_bits(state.lab, joined.author, effort)
    if bits < rule.effort_bits:
        raise refusals.NotAllowed(
            f"the effort has {bits} bits, expected {rule.effort_bits}; the lab's /lab says what it asks for"
        )


def admitted(state: LabState, joined: NodeJoined, at_ms: int) -> LabState:
    """The state when somebody was let in: an invitation is used up by one.

    Raises:
        ValueError: the rule does not let it in.
    """
    try:
        refuse(state, joined, at_ms)
    except refusals.Refused as error:
        raise ValueError(str(error)) from None
    said = invitation_in(joined)
    rule = state.joining
    is_named = not {joined.author, party_of(state, joined)}.isdisjoint(rule.allowed)
    if said is None or rule.policy != "invited" or is_named or is_known(state, joined):
        return state
    invited, before = _in_use(state, at_ms), state.invited.get(said.name)
    uses = 1 if before is None else before.uses + 1
    return changed(state, invited=invited.put(said.name, Used(uses, said.until_ms)))
