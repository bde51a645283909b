"""The pool and its grants: filled, ruled, given, asked for, charged, over (decision 0098). Pure.

Law: one check for the door and for the fold. What is granted comes out of the pool and goes to a door that the rule names,
or back: no statement makes credits, none pays a grant out. A person gets one grant a month under however many keys, as far
as verifiers tell persons apart; who is attested by nobody gets none; a verifier that lies gives away its own month, no more.
"""

from typing import TypeVar

from archipel.lab import joining, pledges, refusals
from archipel.lab.charging import SLACK_MS, charged
from archipel.lab.grantees import Granted, Pool
from archipel.lab.pledges import Free
from archipel.lab.pool import (
    check_operator,
    granted,
    held_micro,
    over,
    posted,
    this_month,
    with_granted,
)
from archipel.lab.providers import account_of
from archipel.lab.state import LabState
from archipel.market import grants
from archipel.market.grants import Caps, Given
from archipel.market.journal import POOL, Move, Posting, grant
from archipel.records.changed import changed
from archipel.records.fields import MAX_SEQ, Closed
from archipel.records.grants import (
    MAX_GRANT_MS,
    Attestation,
    GrantCharged,
    GrantEnded,
    GrantGiven,
    Granting,
    GrantRequested,
    Permit,
    PoolFunded,
    PoolPledged,
    PoolRuled,
)
from archipel.records.membership import NotSigned, Signed, read_signed

UNRULED = Caps(MAX_SEQ, MAX_SEQ, MAX_SEQ)
"""Before any rule an operator gives what the pool holds."""
S = TypeVar("S", bound=Closed)


def followed(state: LabState, said: Granting, at_ms: int, free: Free) -> LabState:
    """The state after it: 1 the key may speak  2 for itself  3 what it says fits.

    Raises:
        Refused: why not.
    """
    joining.admit_author(state, said.author, at_ms)
    operator = account_of(state, said.author)
    if operator != said.author:
        raise refusals.NotAllowed(
            f"{said.author} is a node's key; what it earns is its operator's, {operator}, who signs for it"
        )
    state = over(state, at_ms)
    match said:
        case PoolFunded():
            return pledges.funded(state, said, at_ms, free)
        case PoolPledged():
            return pledges.pledged(state, said)
        case PoolRuled():
            check_operator(state, said.author)
            return changed(state, pool=changed(state.pool, rule=said))
        case GrantGiven():
            return _given(state, said, at_ms)
        case GrantRequested():
            return _requested(state, said, at_ms)
        case GrantCharged():
            return charged(state, said, _read(Permit, said.permit), at_ms)
        case GrantEnded():
            return _ended(state, said)


def _given(state: LabState, said: GrantGiven, at_ms: int) -> LabState:
    check_operator(state, said.author)
    if not at_ms < said.until_ms <= at_ms + MAX_GRANT_MS:
        raise refusals.Conflict(
            f"a grant until {said.until_ms} (Unix milliseconds), and it is {at_ms}; expected a later end, at most "
            f"{MAX_GRANT_MS} ms from now"
        )
    state = this_month(state, at_ms)
    rule = state.pool.rule
    caps = UNRULED if rule is None else Caps(rule.grant_micro, rule.month_micro, MAX_SEQ)
    most = grants.givable(said.micro, held_micro(state), Given(state.pool.given_micro), caps)
    if most < said.micro:
        raise refusals.InsufficientCredits(
            f"{said.micro} micro-credits to {said.to}, and {most} can be given: the pool holds {held_micro(state)}, gave "
            f"{state.pool.given_micro} this month of {caps.month_micro}, and gives at most {caps.grant_micro} at a time"
        )
    return granted(state, said.to, said.micro, said.until_ms)


def _requested(state: LabState, said: GrantRequested, at_ms: int) -> LabState:
    """1 somebody rules so  2 the attestation counts  3 the person has had none this month  4 there is something."""
    # 1
    rule: PoolRuled | None = state.pool.rule
    if rule is None or not rule.verifiers or not rule.person_micro:
        raise refusals.NotAllowed(
            "the pool gives nothing for asking; an operator of the lab may give (archipel grants give)"
        )
    # 2
    attested = _read(Attestation, said.attestation)
    _check_attested(state, rule, attested, said.author, at_ms)
    # 3
    state = this_month(state, at_ms)
    for who in (f"person:{attested.person}", said.author):
        if who in state.persons:
            raise refusals.Conflict(
                f"this person was given this month's grant already, by entry {state.persons[who]}; ask again next month "
                "(the calendar's, UTC)"
            )
    # 4
    pool: Pool = state.pool
    by_verifier = pool.by_verifier.get(attested.verifier, 0)
    caps = Caps(rule.grant_micro, rule.month_micro, rule.verifier_micro)
    micro = grants.givable(
        rule.person_micro, held_micro(state), Given(pool.given_micro, by_verifier), caps
    )
    if not micro:
        raise refusals.InsufficientCredits(
            f"nothing is left for this month: the pool holds {held_micro(state)}, gave {pool.given_micro} of {rule.month_micro}, "
            f"for this verifier {by_verifier} of {rule.verifier_micro}; ask again next month, or ask an operator of the lab "
            "or a sponsor to fund the pool (archipel grants fund)"
        )
    persons = state.persons.put(f"person:{attested.person}", state.size).put(
        said.author, state.size
    )
    pool = changed(pool, by_verifier=pool.by_verifier.put(attested.verifier, by_verifier + micro))
    state = changed(state, persons=persons, pool=pool)
    return granted(state, said.author, micro, at_ms + rule.lasts_ms)


def _check_attested(
    state: LabState, rule: PoolRuled, attested: Attestation, author: str, at_ms: int
) -> None:
    if attested.lab != state.lab or attested.subject != author:
        raise refusals.NotAllowed(
            f"the attestation is of {attested.subject} at {attested.lab}, and {author} asks here; ask a verifier for one "
            "of this key, at this lab"
        )
    if attested.verifier not in rule.verifiers:
        raise refusals.NotAllowed(
            f"{attested.verifier} is none of the {len(rule.verifiers)} verifiers whose attestations count here; `archipel "
            "grants show` names them"
        )
    if not attested.issued_ms <= at_ms + SLACK_MS or at_ms >= attested.until_ms:
        raise refusals.NotAllowed(
            f"the attestation holds from {attested.issued_ms} to {attested.until_ms} (Unix milliseconds), and it is "
            f"{at_ms}; ask the verifier for a new one"
        )


def _ended(state: LabState, said: GrantEnded) -> LabState:
    if said.author != said.grantee:
        check_operator(state, said.author)
    known: Granted | None = state.granted.get(said.grantee)
    left = 0 if known is None else grants.left_of(known.grants)
    if known is None or not left:
        raise refusals.Conflict(f"{said.grantee} has no grant that is running")
    state = with_granted(state, said.grantee, changed(known, grants=()))
    return posted(state, Posting(Move.RETURN, grant(said.grantee), POOL, left))


def _read(kind: type[S], signed: Signed) -> S:
    """Raises NotAllowed: it is none of this kind. Whoever opens an envelope looks at the signature."""
    try:
        return read_signed(kind, signed)
    except NotSigned as error:
        raise refusals.NotAllowed(str(error)) from None
