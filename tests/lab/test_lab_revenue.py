"""What a model earned goes to who holds its shares, to the last micro-credit; nothing is entered twice, or of others."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.identity import sign
from archipel.lab import refusals
from archipel.lab.apply import Contradiction, apply
from archipel.lab.bookkeeping import Bookkeeper
from archipel.lab.entry import open_envelope, read_entry
from archipel.lab.owners import MAX_METERS, Meter, Owned
from archipel.lab.owning import admit
from archipel.lab.recovery import pages
from archipel.lab.snapshots import ENCODERS, decode_state, encode_state
from archipel.lab.state import LabState
from archipel.market.journal import OUTSIDE, Move, run_treasury
from archipel.market.ownership import TREASURY
from archipel.records.canonical import parse_canonical
from archipel.records.changed import changed
from archipel.records.fields import MAX_SEQ
from archipel.records.money import CreditsSettled
from archipel.records.ownership import MeterNamed, RevenueEntered, ShareTransferred
from archipel.records.recipe_charter import UNITS, CharterSection, charter_terms
from archipel.records.statements import RECORD_TYPE, InvalidRecord, decode, encode
from archipel.records.table import Table
from metered import METER, Book
from people import Provider, identity
from world import World, finish

HOLDERS = ("one", "two", "three")


def begun(world: World, name: str = "run") -> list[Provider]:
    """A run that three nodes have brought to its end; its shares are not divided."""
    world.open_run(name, charter=charter_terms(CharterSection(voting_s=60)))
    learner = world.learner()
    learner.work()
    nodes = [world.provider(each) for each in HOLDERS]
    for each in nodes:
        each.prove()
    finish(world, learner, nodes)
    while learner.work() is not None:
        pass
    return nodes


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    assert sum(found.state.book.values()) == 0
    found.check_replay()
    found.close()


def newest_weights(state: LabState, name: str = "run") -> str:
    return state.runs[name].chain[-1].policy


def enter(world: World, opened: Any, micro: int, first: int = 1, run: str = "run") -> None:
    world.speak(
        world.operator, RevenueEntered, run=run, first=first, receipt=opened.signed, micro=micro
    )


def named(world: World, run: str = "run", by: Any = METER) -> Book:
    weights = newest_weights(world.state, run)
    world.speak(world.operator, MeterNamed, run=run, meter=by.did, weights=weights)
    return Book(weights, by)


def wallets(state: LabState) -> dict[str, int]:
    return {name: int(micro) for name, micro in state.book.items() if name.startswith("did:")}


def gained(before: LabState, after: LabState) -> dict[str, int]:
    """Account -> what it holds more."""
    names = {*before.book, *after.book} - {OUTSIDE}
    more = {name: after.book.get(name, 0) - before.book.get(name, 0) for name in names}
    return {name: int(each) for name, each in more.items() if each}


def test_revenue_goes_to_the_holders_pro_rata_and_nothing_is_left_over(world: World) -> None:
    begun(world)
    book, before = named(world), world.state
    enter(world, book.due(1_000_002), 1_000_001)
    held = world.state.owned["run"].held
    got = gained(before, world.state)
    assert sum(got.values()) == 1_000_001
    for holder, units in held.items():
        account = run_treasury("run") if holder == TREASURY else holder
        exact = 1_000_001 * units
        assert abs(got.get(account, 0) * UNITS - exact) < UNITS, "less than one micro-credit off"
    assert world.state.meters[METER.did] == Meter(
        "run",
        book.weights,
        1,
        book.newest.digest,
        1_000_002,
        1_000_001,  # type: ignore[union-attr]  # one was written
    )


def test_what_users_paid_later_is_entered_with_a_later_receipt(world: World) -> None:
    begun(world)
    book = named(world)
    enter(world, book.due(100), 60)
    last = book.due(100)
    with pytest.raises(refusals.TooMuch, match="at most 140"):
        enter(world, last, 141, first=2)
    enter(world, last, 140, first=2)
    assert world.state.meters[METER.did].paid_micro == 200


def test_a_range_of_receipts_counts_once(world: World) -> None:
    begun(world)
    book = named(world)
    book.due(100)
    two = book.due(100)
    enter(world, two, 50)
    three = book.due(100)
    for first in (0, 1, 2, 4):
        with pytest.raises(refusals.Conflict, match="each counts once; begin with 3"):
            enter(world, three, 50, first=first)
    with pytest.raises(refusals.Conflict, match="before the first"):
        enter(world, two, 50, first=3)
    enter(world, three, 50, first=3)


def test_another_chain_under_the_same_key_is_seen(world: World) -> None:
    begun(world)
    book, fork = named(world), Book(newest_weights(world.state))
    enter(world, book.due(100), 100)
    fork.due(40)
    with pytest.raises(refusals.Conflict, match="another chain"):
        enter(world, fork.due(400), 50, first=2)
    fork.due(2)
    poor = Book(book.weights)
    for _ in range(3):
        poor.due(2)
    with pytest.raises(refusals.Conflict, match="another chain"):
        enter(world, poor.newest, 1, first=2)


def test_receipts_of_a_key_that_nobody_named_or_of_other_weights_or_of_another_run_count_for_nothing(
    world: World,
) -> None:
    begun(world)
    begun(world, "other")
    weights = newest_weights(world.state)
    with pytest.raises(refusals.NotAllowed, match="no meter of run"):
        enter(world, Book(weights).due(100), 50)
    named(world)
    with pytest.raises(refusals.NotAllowed, match="no meter of other"):
        enter(world, Book(weights).due(100), 50, run="other")
    with pytest.raises(refusals.NotAllowed, match="other weights"):
        enter(world, Book("sha256:" + "0" * 64).due(100), 50)
    with pytest.raises(refusals.Conflict, match="a meter is of one run"):
        named(world, "other")
    stranger = identity("stranger")
    with pytest.raises(refusals.Unknown, match="none of the"):
        world.speak(
            world.operator, MeterNamed, run="run", meter=stranger.did, weights="sha256:" + "0" * 64
        )


def test_only_an_operator_of_the_lab_says_who_counts_and_what_came_in(world: World) -> None:
    one, *_ = begun(world)
    weights = newest_weights(world.state)
    with pytest.raises(refusals.NotAllowed, match="no operator of this lab"):
        one.speak(MeterNamed, run="run", meter=one.did, weights=weights)
    book = named(world)
    with pytest.raises(refusals.NotAllowed, match="no operator of this lab"):
        one.speak(RevenueEntered, run="run", first=1, receipt=book.due(100).signed, micro=1)


def test_a_run_without_owners_and_one_that_goes_on_take_no_revenue(world: World) -> None:
    learner = world.started()
    finish(world, learner, [world.provider("one")])
    weights = newest_weights(world.state)
    with pytest.raises(refusals.NoCharter):
        world.speak(world.operator, MeterNamed, run="run", meter=METER.did, weights=weights)
    world.open_run("going", charter=charter_terms(CharterSection()))
    world.learner().work()
    book = named(world, "going")
    with pytest.raises(refusals.NotDivided):
        enter(world, book.due(100), 50, run="going")


def test_nothing_and_more_than_accounts_may_hold_are_refused(world: World) -> None:
    begun(world)
    book = named(world)
    most = book.due(10**15)
    with pytest.raises(ValueError, match="micro"):
        enter(world, most, 0)
    with pytest.raises(ValueError, match="micro"):
        enter(world, most, 10**15 + 1)
    for number in range(9):
        world.speak(
            world.operator, CreditsSettled, account=world.operator.did, direction="in", micro=10**15,
            reference=f"r{number}",
        )  # fmt: skip
    with pytest.raises(refusals.TooMuch, match=f"beyond {MAX_SEQ}"):
        enter(world, most, 10**15)


def test_a_receipt_that_its_meter_did_not_sign_is_no_record(world: World) -> None:
    begun(world)
    book = named(world)
    signed = book.due(100).signed
    payload = signed.payload.replace('"micro":100', '"micro":900')
    assert payload != signed.payload
    lie = RevenueEntered(
        lab=world.state.lab, author=world.operator.did, seq=10**15, run="run", first=1, micro=1,
        receipt=signed.model_copy(update={"payload": payload}),
    )  # fmt: skip
    envelope = sign(world.operator, encode(lie), RECORD_TYPE)
    with pytest.raises(InvalidRecord, match="no receipt"):
        open_envelope(envelope)


def test_meters_of_a_run_are_bounded(world: World) -> None:
    begun(world)
    weights = newest_weights(world.state)
    full = Table({f"did:{n}": Meter("run", weights) for n in range(MAX_METERS)})
    said = MeterNamed(
        lab=world.state.lab, author=world.operator.did, seq=10**15, run="run", meter=METER.did, weights=weights
    )  # fmt: skip
    with pytest.raises(refusals.TooMuch, match="no more"):
        admit(changed(world.state, meters=full), said, world.now_ms)


def test_who_gave_its_shares_away_earns_nothing_more_and_who_has_them_earns_it(
    world: World,
) -> None:
    one, two, _ = begun(world)
    book = named(world)
    enter(world, book.due(1000), 1000)
    units, before = world.state.owned["run"].held[one.did], world.state
    one.speak(ShareTransferred, run="run", to=identity("heir").did, units=units)
    enter(world, book.due(1000), 1000, first=2)
    got = gained(before, world.state)
    assert one.did not in got
    assert (
        got[identity("heir").did] == 1000 * units // UNITS
        or got[identity("heir").did] == 1000 * units // UNITS + 1
    )
    assert 0 <= got[identity("heir").did] * UNITS - 1000 * units + UNITS < 2 * UNITS, (
        "as it would have"
    )
    assert got[two.did] > 0


def test_a_statement_shows_each_holder_what_it_was_paid_by_which_entry(world: World) -> None:
    one, *_ = begun(world)
    book = named(world)
    enter(world, book.due(1000), 1000)
    treasury = run_treasury("run")
    keeper = Bookkeeper(world.state.lab, (one.did, treasury))
    for data in pages(world.lab.log):
        keeper.take(read_entry(data))
    last = {each.account: each for each in keeper.movements if each.move is Move.EARN}
    assert set(last) == {one.did, treasury}
    assert {each.work for each in last.values()} == {"run"}
    assert {each.entry for each in last.values()} == {world.state.size - 1}
    assert {each.kind for each in last.values()} == {"revenue.entered"}


def test_an_older_form_of_a_state_knew_no_owners_and_no_meters(world: World) -> None:
    begun(world)
    named(world)
    assert "meters" in parse_canonical(encode_state(world.state))["state"]
    told = parse_canonical(ENCODERS[6](world.state))
    assert told["format"] == 6
    assert not {"meters", "owned", "deciding"} & told["state"].keys()


@cache
def story() -> tuple[LabState, int, str]:
    world = World()
    begun(world)
    weights = newest_weights(world.state)
    world.speak(world.operator, MeterNamed, run="run", meter=METER.did, weights=weights)
    state, now_ms, operator = world.state, world.now_ms, world.operator.did
    world.close()
    return state, now_ms, operator


deeds = st.one_of(
    st.tuples(st.just("earn"), st.integers(1, 3000), st.integers(0, 3500), st.integers(-1, 1)),
    st.tuples(st.just("give"), st.sampled_from(HOLDERS), st.sampled_from(HOLDERS), st.integers(1, UNITS)),
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.lists(deeds, max_size=25))
def test_in_any_order_of_revenue_and_transfers_door_and_fold_agree_and_every_micro_credit_has_a_holder(
    told: list[tuple[Any, ...]],
) -> None:
    state, now_ms, operator = story()
    book, came = Book(newest_weights(state)), 0
    for deed in told:
        seq = max(state.sequences.values()) + 1
        by: dict[str, Any] = {"lab": state.lab, "seq": seq, "run": "run"}
        meter = state.meters[METER.did]
        if deed[0] == "earn":
            opened, first = book.due(2 * deed[1]), meter.number + 1 + deed[3]
            said: Any = RevenueEntered(
                **by,
                author=operator,
                first=max(first, 0),
                receipt=opened.signed,
                micro=deed[2] or 1,
            )
        else:
            author, to = identity(deed[1]).did, identity(deed[2]).did
            said = ShareTransferred(**by, author=author, to=to, units=deed[3])
        said, before = decode(encode(said)), state
        try:
            admit(state, said, now_ms)
        except refusals.Refused:
            with pytest.raises(Contradiction):
                apply(state, said, now_ms)
            continue
        state = apply(state, said, now_ms)
        paid = sum(gained(before, state).values())
        assert paid == (said.micro if deed[0] == "earn" else 0)
        came += paid
        owned: Owned = state.owned["run"]
        assert sum(owned.held.values()) == UNITS
        after = state.meters[METER.did]
        assert after.paid_micro == came <= after.due_micro
        assert sum(state.book.values()) == 0
    assert decode_state(encode_state(state)) == state
