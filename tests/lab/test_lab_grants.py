"""The pool and its grants: filled, given, charged, over; and what many identities, liars and a careless clock get of it."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.identity import Identity
from archipel.lab import refusals
from archipel.lab.collecting import passed
from archipel.lab.grantees import Pledge
from archipel.lab.granting import followed
from archipel.lab.money import free_micro
from archipel.lab.state import LabState
from archipel.market.grants import left_of
from archipel.market.journal import OUTSIDE, POOL, TREASURY, Move, Posting, grant, post, stake
from archipel.records.canonical import canonical_json
from archipel.records.changed import changed
from archipel.records.grants import (
    MILLION,
    Attestation,
    GrantCharged,
    GrantEnded,
    GrantGiven,
    Granting,
    GrantRequested,
    PoolFunded,
    PoolPledged,
    PoolRuled,
)
from archipel.records.membership import Signed
from archipel.records.money import CreditsSettled
from granted import DAY_MS, DOOR, VERIFIER, attested, permitted, rule
from people import identity
from world import START_MS, World

ADA, BOB, SPONSOR = identity("ada"), identity("bob"), identity("sponsor")
NOW = START_MS + 7 * DAY_MS
"""22 January 2027, at eight."""
LAB, OPERATOR = identity("lab").did, identity("operator").did
FORGED = "0" * 128


def check(state: LabState) -> None:
    """Nothing is made or lost; every grant lies in its account; nobody but the world outside owes anything."""
    assert sum(state.book.values()) == 0
    accounts = {name: micro for name, micro in state.book.items() if name.startswith("grant:")}
    left = {grant(did): left_of(each.grants) for did, each in state.granted.items()}
    assert accounts == {name: micro for name, micro in left.items() if micro}
    assert all(micro > 0 for name, micro in state.book.items() if name != OUTSIDE)


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    found.now_ms = NOW
    yield found
    check(found.state)
    found.check_replay()
    found.close()


def filled(world: World, micro: int = 100_000, **more: Any) -> None:
    paid_in(world, micro)
    world.speak(SPONSOR, PoolFunded, source="wallet", micro=micro)
    world.speak(world.operator, PoolRuled, **rule(**more))


def paid_in(world: World, micro: int, who: Identity = SPONSOR) -> None:
    reference = f"transfer {world.state.size}"
    world.speak(
        world.operator,
        CreditsSettled,
        account=who.did,
        direction="in",
        micro=micro,
        reference=reference,
    )


def asks(world: World, who: Identity, person: str = "", **more: Any) -> None:
    said = attested(LAB, who.did, person or who.did, world.now_ms, **more)
    world.speak(who, GrantRequested, attestation=said)


def charges(world: World, micro: int, since_ms: int, until_ms: int, **more: Any) -> None:
    said = permitted(LAB, ADA, NOW + 30 * DAY_MS, **more)
    world.speak(
        DOOR,
        GrantCharged,
        permit=said,
        micro=micro,
        num_tokens=9,
        since_ms=since_ms,
        until_ms=until_ms,
    )


def holds(world: World, account: str) -> int:
    return int(world.state.book.get(account, 0))


def test_a_grant_is_asked_for_spent_at_a_door_and_what_is_left_goes_back(world: World) -> None:
    filled(world)
    asks(world, ADA)
    assert (holds(world, POOL), holds(world, grant(ADA.did))) == (99_000, 1000)
    world.tick(1000)
    charges(world, 300, NOW, NOW + 500)
    charges(world, 200, NOW + 500, NOW + 1000)
    assert (holds(world, DOOR.did), holds(world, grant(ADA.did))) == (500, 500)
    assert holds(world, ADA.did) == 0, "a grant is nobody's wallet"
    world.tick(10 * DAY_MS - 1000)
    paid_in(world, 1)
    assert (holds(world, POOL), grant(ADA.did) in world.state.book) == (99_500, False)
    assert world.state.granted[ADA.did].grants == ()
    world.tick(20 * DAY_MS)
    paid_in(world, 1)
    assert ADA.did not in world.state.granted, "nothing is remembered of a permit that is over"


def test_a_person_has_one_grant_a_month_under_however_many_keys(world: World) -> None:
    filled(world)
    asks(world, ADA, "ada@example.org")
    with pytest.raises(refusals.Conflict, match="this month's grant already"):
        asks(world, BOB, " Ada@example.org")
    with pytest.raises(refusals.Conflict, match="this month's grant already"):
        asks(world, ADA, "somebody else")
    world.tick(10 * DAY_MS)
    asks(world, BOB, "ada@example.org")
    with pytest.raises(refusals.Conflict):
        asks(world, ADA, "ada@example.org")


def test_a_clock_that_goes_back_over_the_end_of_a_month_gives_nobody_a_second_grant(
    world: World,
) -> None:
    filled(world)
    world.now_ms = NOW + 10 * DAY_MS
    asks(world, ADA)
    world.now_ms = NOW + 9 * DAY_MS
    with pytest.raises(refusals.Conflict):
        asks(world, ADA, issued_ms=NOW)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"by": DOOR}, "none of the 1 verifiers"),
        ({"subject": BOB.did}, "asks here"),
        ({"lab": BOB.did}, "asks here"),
        ({"until_ms": NOW}, "ask the verifier for a new one"),
        ({"issued_ms": NOW + 61_000}, "ask the verifier for a new one"),
    ],
)
def test_an_attestation_counts_for_its_key_here_now_and_of_a_verifier_of_the_rule(
    world: World, more: dict[str, Any], why: str
) -> None:
    filled(world)
    about = attested(**({"lab": LAB, "subject": ADA.did, "person": "a", "now_ms": NOW} | more))
    with pytest.raises(refusals.NotAllowed, match=why):
        world.speak(ADA, GrantRequested, attestation=about)
    assert holds(world, POOL) == 100_000


def test_what_was_not_signed_by_its_verifier_or_grantee_enters_nowhere(world: World) -> None:
    filled(world)
    good = attested(LAB, ADA.did, "ada", NOW)
    with pytest.raises(refusals.Refused):
        world.speak(ADA, GrantRequested, attestation=Signed(payload=good.payload, signature=FORGED))
    asks(world, ADA)
    permit = permitted(LAB, ADA, NOW + DAY_MS)
    forged = Signed(payload=permit.payload, signature=FORGED)
    facts = {"micro": 1, "num_tokens": 1, "since_ms": 1, "until_ms": 2}
    with pytest.raises(refusals.Refused):
        world.speak(DOOR, GrantCharged, permit=forged, **facts)
    with pytest.raises(refusals.NotAllowed, match="ask the grantee"):
        world.speak(DOOR, GrantCharged, permit=permitted(LAB, ADA, NOW), **facts)
    assert holds(world, DOOR.did) == 0


def said(kind: type[Granting], author: str, **fields: Any) -> Any:
    return kind(lab=LAB, author=author, seq=1, **fields)


def pooled(micro: int = 100_000, **more: Any) -> LabState:
    """A lab whose pool holds so much, without a ledger: what the fold makes of statements that were let in."""
    state = LabState(lab=LAB, operators=frozenset((OPERATOR,)))
    book = post(
        state.book,
        (
            Posting(Move.PAY_IN, OUTSIDE, SPONSOR.did, micro),
            Posting(Move.FUND, SPONSOR.did, POOL, micro),
        ),
    )
    ruled = said(PoolRuled, OPERATOR, **rule(**more))
    return followed(changed(state, book=book), ruled, NOW, free_micro)


@cache
def sybil(number: int) -> Identity:
    return identity(f"sybil {number}")


def crowd(state: LabState, number: int, signer: Identity) -> tuple[LabState, int]:
    """(state, how many were given something) when so many fresh keys have asked, each as a person of its own."""
    served = 0
    for each in range(number):
        key = sybil(each)
        about = Attestation(
            lab=LAB,
            verifier=signer.did,
            subject=key.did,
            person=f"{each:064x}",
            issued_ms=NOW,
            until_ms=NOW + DAY_MS,
        )
        payload = canonical_json(about.model_dump(mode="json")).decode()
        attestation = Signed(payload=payload, signature=FORGED)  # looked at before the fold
        ask = said(GrantRequested, key.did, attestation=attestation)
        try:
            state = followed(state, ask, NOW + each, free_micro)
        except refusals.Refused:
            continue
        served += 1
    return state, served


def test_a_thousand_identities_that_nobody_verified_get_nothing() -> None:
    before = pooled()
    after, served = crowd(before, 1000, identity("verifier of their own"))
    assert (served, after.book) == (0, before.book)


def test_a_thousand_identities_of_a_verifier_that_lies_get_no_more_than_its_month_and_the_pool() -> (
    None
):
    after, served = crowd(pooled(), 1000, VERIFIER)
    check(after)
    assert served == 20
    assert after.book[POOL] == 100_000 - 20_000
    poor, served = crowd(pooled(7_500), 40, VERIFIER)
    check(poor)
    assert served == 8, "the last one gets what is left"
    assert POOL not in poor.book
    tight, _ = crowd(pooled(month_micro=3_300), 40, VERIFIER)
    assert tight.book[POOL] == 100_000 - 3_300


def test_a_door_is_paid_for_a_time_once_within_permit_and_grant_and_only_if_the_rule_names_it(
    world: World,
) -> None:
    filled(world, person_micro=5000)
    asks(world, ADA)
    world.tick(10_000)
    charges(world, 100, NOW, NOW + 10)
    with pytest.raises(refusals.Conflict, match="the end of the last"):
        charges(world, 100, NOW, NOW + 10)
    with pytest.raises(refusals.Conflict, match="ends by now"):
        charges(world, 1, NOW + 10, NOW + 10_000 + 60_001)
    with pytest.raises(refusals.InsufficientCredits, match="4900 are left of what was granted"):
        charges(world, 4901, NOW + 10, NOW + 20)
    small = {"name": "3f" * 8}
    said_ = permitted(LAB, ADA, NOW + DAY_MS, micro=50, **small)
    facts = {"permit": said_, "num_tokens": 1}
    world.speak(DOOR, GrantCharged, micro=50, since_ms=1, until_ms=2, **facts)
    with pytest.raises(refusals.InsufficientCredits, match="the permit leaves 0 of 50"):
        world.speak(DOOR, GrantCharged, micro=1, since_ms=2, until_ms=3, **facts)
    other = identity("another door")
    with pytest.raises(refusals.NotAllowed, match="no door that may charge"):
        world.speak(other, GrantCharged, micro=1, since_ms=1, until_ms=2, **facts)
    world.speak(world.operator, PoolRuled, **rule(doors=(DOOR.did, other.did)))
    with pytest.raises(refusals.NotAllowed, match="the permit lets"):
        world.speak(other, GrantCharged, micro=1, since_ms=1, until_ms=2, **facts)
    world.tick(DAY_MS)
    with pytest.raises(refusals.NotAllowed, match="ask the grantee"):
        world.speak(DOOR, GrantCharged, micro=1, since_ms=2, until_ms=3, **facts)
    assert holds(world, DOOR.did) == 150


def test_an_operator_gives_within_the_rule_and_ends_what_was_given(world: World) -> None:
    filled(world, 12_000, month_micro=9_000)
    gift = {"to": ADA.did, "until_ms": NOW + DAY_MS, "reason": "a class"}
    with pytest.raises(refusals.NotAllowed):
        world.speak(SPONSOR, GrantGiven, micro=1, **gift)
    with pytest.raises(refusals.InsufficientCredits, match="5000 can be given"):
        world.speak(world.operator, GrantGiven, micro=5001, **gift)
    with pytest.raises(refusals.Conflict):
        world.speak(world.operator, GrantGiven, micro=1, **(gift | {"until_ms": NOW}))
    world.speak(world.operator, GrantGiven, micro=5000, **gift)
    with pytest.raises(refusals.InsufficientCredits, match="4000 can be given"):
        world.speak(world.operator, GrantGiven, micro=4001, **gift)
    world.speak(world.operator, GrantGiven, micro=4000, **gift)
    with pytest.raises(refusals.NotAllowed):
        world.speak(BOB, GrantEnded, grantee=ADA.did, reason="mine")
    world.speak(ADA, GrantEnded, grantee=ADA.did, reason="enough")
    assert holds(world, POOL) == 12_000
    with pytest.raises(refusals.Conflict):
        world.speak(world.operator, GrantEnded, grantee=ADA.did, reason="again")


def test_the_pool_takes_no_more_than_a_wallet_has_free_and_of_the_treasury_only_from_operators(
    world: World,
) -> None:
    with pytest.raises(refusals.InsufficientCredits):
        world.speak(SPONSOR, PoolFunded, source="wallet", micro=1)
    with pytest.raises(refusals.NotAllowed):
        world.speak(SPONSOR, PoolFunded, source="treasury", micro=1)
    with pytest.raises(refusals.InsufficientCredits):
        world.speak(world.operator, PoolFunded, source="treasury", micro=1)


def test_of_the_treasury_only_what_no_contest_can_give_back_goes_to_the_pool() -> None:
    book = post(
        LabState(lab=LAB).book,
        (
            Posting(Move.PAY_IN, OUTSIDE, ADA.did, 50),
            Posting(Move.STAKE, ADA.did, stake(ADA.did), 50),
            Posting(Move.SLASH, stake(ADA.did), TREASURY, 50),
        ),
    )
    state = LabState(lab=LAB, operators=frozenset((OPERATOR,)), book=book)
    funding = said(PoolFunded, OPERATOR, source="treasury", micro=50)
    after = followed(state, funding, NOW, free_micro)
    assert dict(after.book) == {OUTSIDE: -50, POOL: 50}


def test_a_pledge_is_a_part_of_pay_collected_the_next_day_and_ends_at_once(world: World) -> None:
    world.started(versions=3)
    one = world.provider("one")
    world.speak(one.identity, PoolPledged, parts=250_000)
    one.prove()
    paid = holds(world, one.did)
    assert paid > 0
    assert holds(world, POOL) == 0
    world.tick(DAY_MS)
    paid_in(world, 1)
    assert (holds(world, POOL), holds(world, one.did)) == (paid // 4, paid - paid // 4)
    world.speak(one.identity, PoolPledged, parts=MILLION)
    world.speak(one.identity, PoolPledged, parts=0)
    with pytest.raises(refusals.Conflict):
        world.speak(one.identity, PoolPledged, parts=0)
    world.tick(DAY_MS)
    paid_in(world, 1)
    assert holds(world, POOL) == paid // 4
    paid_in(world, -holds(world, OPERATOR), world.operator)  # what its runs cost, which it owes


def test_what_a_verdict_may_take_back_is_not_collected_before() -> None:
    state = pooled()
    book = post(state.book, (Posting(Move.PAY_IN, OUTSIDE, ADA.did, 100),))
    due = Pledge(MILLION, due=300 * MILLION + 7)
    state = changed(state, book=book, pledged=state.pledged.put(ADA.did, due))
    after = passed(state, NOW)
    check(after)
    assert (after.book[POOL], after.pledged[ADA.did].due) == (100_100, 200 * MILLION + 7)
    assert passed(after, NOW) is after, "once a day"


KEYS = [identity(f"party {number}") for number in range(4)]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 6000), st.integers(0, 20)),
        max_size=40,
    )
)
def test_whatever_is_said_in_whatever_order_nothing_is_made_lost_or_owed(
    told: list[tuple[int, int, int, int]],
) -> None:
    state, now = pooled(20_000), NOW
    for what, who, micro, days in told:
        now += days * DAY_MS // 3
        key = KEYS[who]
        try:
            state = passed(state, now)
            state = followed(state, statement(what, key, micro, now), now, free_micro)
        except refusals.Refused:
            pass
        check(state)
    state = passed(state, now + 500 * DAY_MS)
    check(state)
    assert not state.granted
    assert not state.pool.ending


def statement(what: int, key: Identity, micro: int, now: int) -> Any:
    until = now + (micro % 7 + 1) * DAY_MS
    match what:
        case 0:
            return said(
                GrantRequested, key.did, attestation=attested(LAB, key.did, f"p{micro % 3}", now)
            )
        case 1:
            return said(GrantGiven, OPERATOR, to=key.did, micro=micro, until_ms=until, reason="")
        case 2:
            return said(GrantEnded, key.did, grantee=key.did, reason="")
        case 3:
            return said(PoolFunded, DOOR.did, source="wallet", micro=micro)
        case _:
            permit = permitted(LAB, key, until, name=f"{micro % 2:016x}", micro=micro * 2)
            return said(
                GrantCharged,
                DOOR.did,
                permit=permit,
                micro=micro,
                num_tokens=1,
                since_ms=now - 9,
                until_ms=now,
            )
