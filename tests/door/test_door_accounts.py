"""Keys, rates and quotas of a door: what a stranger, a thief of the file and a greedy tenant get."""

import itertools
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.door import rates
from archipel.door.accounts import Accounts
from archipel.door.keys import FILE, SCOPES, USUAL, BadKeyQuestion, Limits, Tenant
from archipel.door.quotas import Refusal, beyond_month, month_ms
from archipel.door.usage import HOUR_MS, KEPT_MS, Usage, days

NOW = 1_790_000_000_000
"""21 September 2026."""


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    made = Accounts(tmp_path)
    yield made
    made.close()


def tenant(accounts: Accounts, name: str = "ada", scopes: tuple[str, ...] = USUAL) -> Tenant:
    found = accounts.who(accounts.keys.make(name, scopes, NOW), NOW)
    assert isinstance(found, Tenant)
    return found


def why(found: object) -> str:
    assert isinstance(found, Refusal), found
    assert found.sentence
    return found.kind


def test_a_key_opens_to_who_has_all_of_it_and_to_nobody_else(accounts: Accounts) -> None:
    key = accounts.keys.make("ada", USUAL, NOW)
    assert key.startswith("tml-")
    assert accounts.who(key, NOW) == tenant_of(accounts, key)
    other = accounts.keys.make("ada", USUAL, NOW)
    mixed = key[:17] + other[17:]
    for wrong in ("", key[:-1], key + "0", key.upper(), mixed, f"{key} ", "tml-", "x" * 10_000):
        assert why(accounts.who(wrong, NOW)) == "unknown"
    for place, sign in itertools.product(range(4, len(key), 7), "0f"):
        changed = key[:place] + sign + key[place + 1 :]
        assert changed == key or why(accounts.who(changed, NOW)) == "unknown"


def tenant_of(accounts: Accounts, key: str) -> Tenant:
    found = accounts.keys.find(key)
    assert found is not None
    return found.tenant


def test_the_file_is_closed_to_others_and_holds_nothing_that_opens(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    key = accounts.keys.make("ada", USUAL, NOW)
    accounts.close()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.encode() not in stored
    assert key.rpartition("-")[2].encode() not in stored
    assert bytes.fromhex(key.rpartition("-")[2]) not in stored


def test_a_revoked_key_is_refused_at_once_by_a_door_that_runs_and_the_tenants_other_keys_go_on(
    tmp_path: Path,
) -> None:
    running, operator = Accounts(tmp_path), Accounts(tmp_path)
    key, other = (operator.keys.make("ada", USUAL, NOW) for _ in range(2))
    first, second = running.who(key, NOW), running.who(other, NOW)
    assert isinstance(first, Tenant)
    assert isinstance(second, Tenant)
    assert first.id == second.id
    operator.keys.revoke(first.key, NOW)
    assert why(running.who(key, NOW)) == "expired"
    operator.keys.revoke(first.key, NOW + 5)
    assert [each.revoked_ms for each in running.keys.all() if each.name == first.key] == [NOW]
    assert running.who(other, NOW) == second
    running.close()
    operator.close()


def test_a_key_ends_when_it_was_made_to(accounts: Accounts) -> None:
    key = accounts.keys.make("ada", USUAL, NOW, NOW + 10)
    assert isinstance(accounts.who(key, NOW + 9), Tenant)
    assert why(accounts.who(key, NOW + 10)) == "expired"


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_is_for_its_scopes_alone(accounts: Accounts, scope: str) -> None:
    one = tenant(accounts, scopes=(scope,))
    assert accounts.may(one, scope, 1, NOW) is None
    refused = {each: accounts.may(one, each, 1, NOW) for each in SCOPES if each != scope}
    assert {why(each) for each in refused.values()} == {"scope"}


@pytest.mark.parametrize(
    ("name", "scopes", "expires_ms"),
    [("", USUAL, None), ("a b", USUAL, None), ("../x", USUAL, None), ("a" * 65, USUAL, None), ("a", (), None),
     ("a", ("all",), None), ("a", USUAL, NOW)],
)  # fmt: skip
def test_what_cannot_be_a_key_is_refused_and_leaves_nothing(
    accounts: Accounts, name: str, scopes: tuple[str, ...], expires_ms: int | None
) -> None:
    with pytest.raises(BadKeyQuestion):
        accounts.keys.make(name, scopes, NOW, expires_ms)
    assert accounts.keys.all() == []


def test_limits_are_the_tenants_by_whichever_key_and_hold_from_the_next_question(
    accounts: Accounts,
) -> None:
    keys = [accounts.keys.make("ada", USUAL, NOW) for _ in range(2)]
    accounts.keys.limit("ada", Limits(share=3, requests_milli=100))
    one, two = (accounts.who(key, NOW) for key in keys)
    assert isinstance(one, Tenant)
    assert isinstance(two, Tenant)
    assert one.share == 3
    assert accounts.may(one, "train", 5, NOW) is None
    refused = accounts.may(two, "train", 5, NOW)
    assert why(refused) == "rate"
    assert refused is not None
    assert refused.retry_after_s == 10
    assert accounts.may(two, "train", 5, NOW + 10_000) is None
    with pytest.raises(BadKeyQuestion):
        accounts.keys.limit("bob", Limits())


def test_a_month_s_tokens_end_and_begin_again_and_what_waits_counts(accounts: Accounts) -> None:
    ada = tenant(accounts)
    accounts.keys.limit("ada", Limits(tokens_per_month=100))
    (ada,) = (Tenant(ada.id, ada.name, ada.key, ada.scopes, Limits(tokens_per_month=100)),)
    assert accounts.may(ada, "train", 100, NOW) is None
    assert why(accounts.may(ada, "train", 60, NOW, waiting=41)) == "quota"
    accounts.used(ada, "train", 60, NOW)
    assert accounts.may(ada, "sample", 40, NOW) is None
    refused = accounts.may(ada, "sample", 41, NOW)
    assert why(refused) == "quota"
    assert refused is not None
    assert "40 of this month's 100 are left" in refused.sentence
    _, end_ms = month_ms(NOW)
    assert refused.retry_after_s == (end_ms - NOW) // 1000
    accounts.used(ada, "forward", 40, NOW)
    assert why(accounts.may(ada, "sample", 1, NOW)) == "quota"
    assert accounts.may(ada, "checkpoints", 0, NOW) is None
    assert why(accounts.may(ada, "sample", 1, end_ms - 1)) == "quota"
    assert accounts.may(ada, "sample", 100, end_ms) is None


def test_a_restarted_door_knows_what_was_used(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path)
    ada = tenant(accounts)
    accounts.keys.limit("ada", Limits(tokens_per_month=100))
    key = accounts.keys.make("ada", USUAL, NOW)
    accounts.used(ada, "train", 99, NOW)
    accounts.close()
    again = Accounts(tmp_path)
    found = again.who(key, NOW)
    assert isinstance(found, Tenant)
    assert why(again.may(found, "train", 2, NOW)) == "quota"
    assert again.may(found, "train", 1, NOW) is None
    again.close()


def test_who_takes_more_than_a_minute_s_tokens_waits_the_longer(accounts: Accounts) -> None:
    ada = tenant(accounts)
    ada = Tenant(ada.id, ada.name, ada.key, ada.scopes, Limits(tokens_per_minute=600))
    assert accounts.may(ada, "train", 6000, NOW) is None
    accounts.used(ada, "train", 6000, NOW)
    refused = accounts.may(ada, "train", 1, NOW)
    assert why(refused) == "rate"
    assert refused is not None
    assert refused.retry_after_s == 541
    assert why(accounts.may(ada, "train", 1, NOW + 540_000)) == "rate"
    assert accounts.may(ada, "train", 1, NOW + 541_000) is None
    assert why(accounts.may(ada, "train", 1, NOW + 541_000, waiting=10)) == "rate"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5000),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 40)), max_size=40),
)
def test_in_no_span_does_a_bucket_give_more_than_it_holds_and_its_rate(
    milli: int, asks: list[tuple[int, int]]
) -> None:
    rate, now, bucket = rates.requests(milli), NOW, None
    given_at: list[int] = []
    for gap_ms, times in asks:
        now += gap_ms
        for _ in range(times):
            bucket = rates.filled(bucket, rate, now)
            if rates.wait_ms(bucket, rate, least=1) == 0:
                bucket = rates.taken(bucket, rate, 1)
                given_at.append(now)
    for first, start in enumerate(given_at):
        for number, end in enumerate(given_at[first:], 1):
            assert number <= rate.holds + (end - start) * milli / 1_000_000


@given(st.integers(1, 10**6), st.integers(0, 10**7), st.integers(0, 10**6))
def test_who_waits_as_long_as_it_was_told_is_let_in_and_no_sooner(
    per_minute: int, taken: int, gone_ms: int
) -> None:
    rate = rates.tokens(per_minute)
    bucket = rates.filled(rates.taken(rates.filled(None, rate, 0), rate, taken), rate, gone_ms)
    wait = rates.wait_ms(bucket, rate)
    assert rates.wait_ms(rates.filled(bucket, rate, gone_ms + wait), rate) == 0
    assert not wait or rates.wait_ms(rates.filled(bucket, rate, gone_ms + wait - 1), rate) == 1
    assert rates.filled(bucket, rate, gone_ms - 5) == bucket


def test_a_clock_that_goes_back_gives_nobody_tokens() -> None:
    rate = rates.tokens(60)
    empty = rates.taken(rates.filled(None, rate, NOW), rate, 60)
    back = rates.filled(empty, rate, NOW - 10**6)
    assert rates.filled(back, rate, NOW) == empty


def test_what_was_used_adds_up_by_hour_and_day_and_old_hours_go() -> None:
    from threading import Lock

    usage = Usage(sqlite3.connect(":memory:"), Lock())
    start = NOW - NOW % (24 * HOUR_MS)
    for hour in range(30):
        usage.count("t", "k", "train", 10 + hour, start + hour * HOUR_MS + 5, "base")
        usage.count("t", "k", "train", 1, start + hour * HOUR_MS + 9, "base")
    usage.count("u", "l", "sample", 7, start)
    hours = usage.hours("t", start, start + 30 * HOUR_MS)
    assert [each.calls for each in hours] == [2] * 30
    by_day = days(usage.hours(None, start, start + 30 * HOUR_MS))
    assert [(each.tenant, each.num_tokens) for each in by_day] == [
        ("t", sum(range(10, 34)) + 24),
        ("u", 7),
        ("t", sum(range(34, 40)) + 6),
    ]
    assert usage.tokens_since("t", start) == sum(each.num_tokens for each in hours)
    usage.forget(start + 2 * HOUR_MS + KEPT_MS)
    assert len(usage.hours("t", 0, NOW * 2)) == 28
    for kind, number in (("trained", 1), ("train", -1)):
        with pytest.raises(ValueError, match="expected 0 or more"):
            usage.count("t", "k", kind, number, NOW)


@given(st.integers(0, 4_000_000_000_000))
def test_every_moment_is_in_one_month_and_months_follow_each_other(now_ms: int) -> None:
    start_ms, end_ms = month_ms(now_ms)
    assert start_ms <= now_ms < end_ms
    assert 28 <= (end_ms - start_ms) / 86_400_000 <= 31
    assert month_ms(end_ms)[0] == end_ms
    assert month_ms(end_ms - 1) == month_ms(start_ms) == (start_ms, end_ms)


def test_a_quota_of_nothing_lets_nothing_in() -> None:
    assert why(beyond_month(0, 0, 1, NOW)) == "quota"
