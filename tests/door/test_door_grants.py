"""Tenants that pay by grants: what is left ends their calls, and no hour is charged twice whatever is lost on the way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.door.accounts import Accounts
from archipel.door.keys import USUAL, BadKeyQuestion, Tenant
from archipel.door.receipts import GRACE_MS, HOUR_MS, receipt
from archipel.door.ties import Tie
from archipel.records.grant_documents import GranteeView, PermitView
from granted import DOOR, permitted
from people import identity

NOW = 1_790_000_000_000 // HOUR_MS * HOUR_MS
PERMIT = permitted(identity("lab").did, identity("ada"), NOW + 10**9)
PRICE = 500_000
"""Micro-credits for a million tokens: two tokens for one."""


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    made = Accounts(tmp_path)
    yield made
    made.close()


def tenant(accounts: Accounts) -> Tenant:
    found = accounts.who(accounts.keys.make("ada", USUAL, NOW), NOW)
    assert isinstance(found, Tenant)
    return found


def view(left: int, charged: int = 0, heard_ms: int = 0) -> GranteeView:
    used = PermitView(name="2e" * 8, door=DOOR.did, micro=charged, heard_ms=heard_ms)
    permits = (used,) if heard_ms else ()
    return GranteeView(grantee=identity("ada").did, left_micro=left, grants=(), permits=permits)


def test_a_tenant_goes_on_until_its_grant_is_used_up_and_is_told_how_to_get_more(
    accounts: Accounts,
) -> None:
    ada = tenant(accounts)
    accounts.ties.tie("ada", PERMIT, PRICE, NOW)
    refused = accounts.may(ada, "train", 1, NOW)
    assert refused is not None
    assert (refused.kind, "not asked about yet" in refused.sentence) == ("quota", True)
    (tie,) = accounts.ties.all()
    accounts.ties.noted(tie, NOW, 100, NOW)
    assert accounts.may(ada, "train", 200, NOW) is None
    assert accounts.may(ada, "train", 150, NOW, waiting=52) is not None
    accounts.used(ada, "train", 150, NOW)
    assert accounts.may(ada, "sample", 50, NOW) is None
    refused = accounts.may(ada, "sample", 52, NOW)
    assert refused is not None
    assert "pays for 50" in refused.sentence
    assert "archipel grants request" in refused.sentence
    accounts.used(ada, "sample", 50, NOW)
    assert accounts.may(ada, "sample", 1, NOW) is not None
    assert accounts.may(ada, "checkpoints", 0, NOW) is None
    accounts.ties.untie("ada")
    assert accounts.may(ada, "sample", 10**9, NOW) is None
    for name in ("ada", "bob"):
        with pytest.raises(BadKeyQuestion):
            accounts.ties.untie(name)
    with pytest.raises(BadKeyQuestion):
        accounts.ties.tie("bob", PERMIT, PRICE, NOW)


def test_a_word_of_the_lab_on_an_older_permit_says_nothing_of_a_new_one(accounts: Accounts) -> None:
    tenant(accounts)
    accounts.ties.tie("ada", PERMIT, PRICE, NOW)
    (old,) = accounts.ties.all()
    newer = permitted(identity("lab").did, identity("ada"), NOW + 10**9, name="4a" * 8)
    accounts.ties.tie("ada", newer, PRICE, NOW)
    accounts.ties.noted(old, NOW, 100, NOW)
    assert [each.seen_ms for each in accounts.ties.all()] == [None]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 900), st.sampled_from(["charge", "lost", "none"])
        ),
        max_size=30,
    ),
    st.integers(0, 4000),
)
def test_each_hour_is_charged_once_and_no_more_than_is_left_whatever_was_lost(
    told: list[tuple[int, int, str]], left: int
) -> None:
    """lost: the lab took the receipt, and the door was killed before it noted that."""
    now, hours, granted = NOW, dict[int, int](), left
    tie = Tie("t", PERMIT, PRICE, NOW, 0, None)
    charged, heard_ms = 0, 0
    for gone, num_tokens, what in told:
        now += gone * HOUR_MS // 2
        hour_ms = now // HOUR_MS * HOUR_MS
        hours[hour_ms] = hours.get(hour_ms, 0) + num_tokens
        if what == "none":
            continue
        due = receipt(
            tie,
            view(left, charged, heard_ms),
            lambda start, end: sum(n for at, n in hours.items() if start <= at < end),
            now,
        )
        assert due.until_ms <= max(now - GRACE_MS, due.since_ms)
        if due.micro:
            assert due.since_ms >= heard_ms
            charged, heard_ms, left = charged + due.micro, due.until_ms, left - due.micro
        if what == "charge":
            tie = Tie("t", PERMIT, PRICE, due.until_ms, due.left_micro, now)
    assert charged <= min(granted, tie.costs(sum(hours.values())))
    assert left == granted - charged


def test_hours_that_are_over_are_charged_whole_and_a_permit_that_is_over_pays_nothing() -> None:
    tie = Tie("t", PERMIT, PRICE, NOW, 0, None)
    used = {NOW: 100, NOW + HOUR_MS: 60, NOW + 2 * HOUR_MS: 7}

    def tokens_in(start: int, end: int) -> int:
        return sum(n for at, n in used.items() if start <= at < end)

    due = receipt(tie, view(1000), tokens_in, NOW + 2 * HOUR_MS + GRACE_MS)
    assert (due.num_tokens, due.micro, due.left_micro) == (160, 80, 920)
    assert (due.since_ms, due.until_ms) == (NOW, NOW + 2 * HOUR_MS)
    assert receipt(tie, view(1000), tokens_in, NOW + HOUR_MS + GRACE_MS - 1).micro == 0
    over = receipt(tie, view(1000), tokens_in, NOW + 10**9)
    assert (over.micro, over.left_micro) == (0, 0)
