"""How much one key, one address and all together may ask: buckets by hand-computed times."""

import pytest

from archipel.connections import Connections
from archipel.lab.doorman import Buckets, DoorLimits, Doorman, Rate
from archipel.lab.refusals import Busy


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(buckets: Buckets, name: str, most: int = 99) -> int:
    """How many there were."""
    return next((n for n in range(most) if not buckets.take(name)), most)


def test_a_bucket_holds_its_burst_fills_at_its_rate_and_never_overflows(clock: Clock) -> None:
    buckets = Buckets(Rate(burst=3, per_s=2), clock)
    assert taken(buckets, "a") == 3
    clock.now_s += 0.49
    assert taken(buckets, "a") == 0
    clock.now_s += 0.51
    assert taken(buckets, "a") == 2
    clock.now_s += 1000
    assert taken(buckets, "a") == 3


def test_every_name_has_a_bucket_of_its_own(clock: Clock) -> None:
    buckets = Buckets(Rate(burst=1, per_s=1), clock)
    assert buckets.take("a")
    assert not buckets.take("a")
    assert buckets.take("b")


def test_a_clock_that_was_set_back_takes_nothing_away(clock: Clock) -> None:
    buckets = Buckets(Rate(burst=2, per_s=1), clock)
    assert buckets.take("a")
    clock.now_s -= 500
    assert buckets.take("a")
    assert not buckets.take("a")
    clock.now_s += 1
    assert buckets.take("a")


def test_the_bucket_that_was_not_used_for_longest_is_forgotten_first(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.lab.doorman.MAX_BUCKETS", 2)
    buckets = Buckets(Rate(burst=1, per_s=0), clock)
    assert buckets.take("a")
    assert buckets.take("b")
    assert not buckets.take("a"), "two are remembered; b is the older one now"
    assert buckets.take("c")
    assert not buckets.take("a")
    assert buckets.take("b"), "it was forgotten, in its favour"


def doorman(clock: Clock, **limits: object) -> Doorman:
    return Doorman(DoorLimits(**limits), clock)  # type: ignore[arg-type]  # fields of it


def test_a_key_that_speaks_too_often_is_busy_and_others_are_not(clock: Clock) -> None:
    door = doorman(clock, per_key=Rate(burst=2, per_s=1))
    for _ in range(2):
        door.statement("did:a", "here", is_newcomer=False, is_idle=False)
    with pytest.raises(Busy, match="1 statements a second"):
        door.statement("did:a", "here", is_newcomer=False, is_idle=False)
    door.statement("did:b", "here", is_newcomer=False, is_idle=False)
    clock.now_s += 1
    door.statement("did:a", "here", is_newcomer=False, is_idle=False)


def test_new_keys_use_up_their_address_and_known_ones_do_not(clock: Clock) -> None:
    door = doorman(clock, joins_per_address=Rate(burst=2, per_s=1))
    for number in range(2):
        door.statement(f"did:{number}", "here", is_newcomer=True, is_idle=False)
    with pytest.raises(Busy, match="new keys from here"):
        door.statement("did:9", "here", is_newcomer=True, is_idle=False)
    door.statement("did:9", "there", is_newcomer=True, is_idle=False)
    door.statement("did:0", "here", is_newcomer=False, is_idle=False)


def test_what_brings_no_work_is_taken_seldom_from_one_key_and_from_one_address(
    clock: Clock,
) -> None:
    door = doorman(clock, idle_per_key=Rate(2, 0.1), idle_per_address=Rate(3, 0.1))
    for _ in range(2):
        door.statement("did:a", "here", is_newcomer=False, is_idle=True)
    with pytest.raises(Busy, match="gave work back too often"):
        door.statement("did:a", "here", is_newcomer=False, is_idle=True)
    door.statement("did:a", "here", is_newcomer=False, is_idle=False)
    door.statement("did:b", "here", is_newcomer=False, is_idle=True)
    with pytest.raises(Busy, match="gave work back too often"):
        door.statement("did:c", "here", is_newcomer=True, is_idle=True)
    door.statement("did:c", "there", is_newcomer=True, is_idle=True)
    clock.now_s += 10
    door.statement("did:a", "here", is_newcomer=False, is_idle=True)


def test_so_many_may_wait_from_one_address_and_who_leaves_makes_room(clock: Clock) -> None:
    door = doorman(clock, waiting_per_address=2)
    door.begin_waiting("here")
    door.begin_waiting("here")
    with pytest.raises(Busy, match="2 requests for work from here"):
        door.begin_waiting("here")
    door.begin_waiting("there")
    door.end_waiting("here")
    door.begin_waiting("here")
    with pytest.raises(Busy):
        door.begin_waiting("here")
    for _ in range(2):
        door.end_waiting("here")
    door.end_waiting("nowhere")
    for _ in range(2):
        door.begin_waiting("here")
    with pytest.raises(Busy):
        door.begin_waiting("here")


def test_limits_for_so_many_nodes_behind_one_address() -> None:
    usual = DoorLimits()
    assert usual.per_key == Rate(burst=200, per_s=50)
    assert usual.joins_per_address == Rate(burst=256, per_s=2)
    assert usual.idle_per_key == Rate(burst=60, per_s=0.2)
    assert usual.idle_per_address == Rate(burst=4096, per_s=17)
    assert (usual.waiting_per_address, usual.connections_per_address) == (1024, 2048)
    few = DoorLimits.for_nodes(60)
    assert few.idle_per_address == Rate(burst=256, per_s=2)
    assert few.joins_per_address == Rate(burst=256, per_s=2)
    assert (few.waiting_per_address, few.connections_per_address) == (60, 120)
    many = DoorLimits.for_nodes(6000)
    assert many.idle_per_address == Rate(burst=24_000, per_s=100)
    assert many.joins_per_address == Rate(burst=6000, per_s=100)
    assert (many.waiting_per_address, many.connections_per_address) == (6000, 12_000)


def test_connections_are_bounded_by_address_and_in_all() -> None:
    open_ = Connections(per_address=2, in_all=3)
    assert [open_.admit("a") for _ in range(3)] == [True, True, False]
    assert [open_.admit("b") for _ in range(2)] == [True, False]
    open_.leave("a")
    assert open_.admit("c")
    assert not open_.admit("a"), "three are open in all"
    open_.leave("b")
    assert open_.admit("a")
    for address in "aac":
        open_.leave(address)
    assert [open_.admit("a") for _ in range(3)] == [True, True, False]
