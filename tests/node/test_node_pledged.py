"""Pledges that an operator made of a machine: how much of it, until when, for whom, and what the file keeps."""

from pathlib import Path

import pytest

from archipel.node import pledged
from archipel.node.pledged import (
    FILE,
    NotPledged,
    Pledged,
    all_pledges,
    floors_of,
    hours_of,
    keep,
    kept_pledges,
    names_of,
    withdraw,
)
from archipel.node.small_files import Unreadable

NOW_S = 1_800_000_000.0
NOW_MS = int(NOW_S * 1000)
LATER_MS = NOW_MS + 1000


def pledge(name: str, share: int | None = 100_000, **said: object) -> Pledged:
    return Pledged(name, **{"lab": "did:key:a", "share": share, "until_ms": LATER_MS} | said)  # type: ignore[arg-type]  # fields by name


def test_a_pledge_holds_until_its_time_or_until_it_is_withdrawn(tmp_path: Path) -> None:
    assert all_pledges(tmp_path) == ()
    one, other = pledge("1", told=("did:key:a",)), pledge("2", None, hours=8, until_ms=LATER_MS + 1)
    for each in (one, other):
        keep(tmp_path, each, NOW_S)
    assert kept_pledges(tmp_path, NOW_S) == all_pledges(tmp_path) == (one, other)
    assert kept_pledges(tmp_path, NOW_S + 1) == (other,)
    gone = withdraw(tmp_path, "2", NOW_S)
    assert (gone.withdrawn, gone.holds(NOW_MS), gone.hours) == (True, False, 8)
    assert kept_pledges(tmp_path, NOW_S) == (one,)
    assert gone in all_pledges(tmp_path), "so that its labs can be told"
    for name, now_s in (("2", NOW_S), ("3", NOW_S), ("1", NOW_S + 1)):
        with pytest.raises(NotPledged, match=f"no pledge {name} holds"):
            withdraw(tmp_path, name, now_s)


def test_shares_and_hours_together_are_at_most_the_machine(tmp_path: Path) -> None:
    keep(tmp_path, pledge("1", 500_000), NOW_S)
    keep(tmp_path, pledge("2", None, hours=84), NOW_S)
    for more in (pledge("3", 1), pledge("3", None, hours=1), pledge("1", 500_001)):
        with pytest.raises(NotPledged, match="of the machine would be pledged"):
            keep(tmp_path, more, NOW_S)
    with pytest.raises(NotPledged, match=r"with this, 110\.0%"):
        keep(tmp_path, pledge("3"), NOW_S)
    keep(tmp_path, pledge("1", 400_000), NOW_S)
    keep(tmp_path, pledge("3"), NOW_S)
    assert [(each.name, each.share) for each in all_pledges(tmp_path)] == [("2", None), ("1", 400_000), ("3", 100_000)]  # fmt: skip
    keep(tmp_path, pledge("4", 1_000_000, until_ms=LATER_MS + 5), NOW_S + 1)  # when those are over


def test_so_many_hold_at_once_and_what_is_over_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pledged, "MAX_PLEDGES", 4)
    for number in range(4):
        keep(tmp_path, pledge(f"{number}", 1), NOW_S)
    with pytest.raises(NotPledged, match="4 pledges hold already"):
        keep(tmp_path, pledge("more", 1), NOW_S)
    withdraw(tmp_path, "2", NOW_S)
    keep(tmp_path, pledge("more", 1), NOW_S)
    names = {each.name for each in all_pledges(tmp_path)}
    assert names == {"more", *(f"{number}" for number in range(4) if number != 2)}
    withdraw(tmp_path, "more", NOW_S)
    keep(tmp_path, pledge("0", 2), NOW_S)
    assert len(all_pledges(tmp_path)) == 4, "there is room for one that is withdrawn"
    keep(tmp_path, pledge("soon", 1, until_ms=NOW_MS + 500), NOW_S)
    keep(tmp_path, pledge("last", 1), NOW_S + 0.6)
    assert {each.name for each in all_pledges(tmp_path)} == {"0", "1", "3", "last"}


def test_a_file_that_is_damaged_is_said(tmp_path: Path) -> None:
    for text in (
        "{}",
        '{"pledges":[{"told":[]}]}',
        '{"pledges":[{"name":"1"}]}',
        '{"pledges":[5]}',
    ):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(Unreadable):
            all_pledges(tmp_path)


def test_what_goes_first_and_for_whom() -> None:
    share, hours = pledge("s", 250_000), pledge("h", None, hours=8, lab=None, purpose="medicine")
    assert floors_of([share, hours]) == {"s": 0.25, "h": 0.0}
    assert hours_of([share, hours]) == {"h": 8.0}
    by_address = pledge("a", lab="https://lab")
    all_three = [share, hours, by_address]
    for lab, address, purposes, named in (
        ("did:key:a", "https://other", (), ["s"]),
        ("did:key:b", "https://lab", (), ["a"]),
        ("did:key:a", "https://lab", ("medicine", "x"), ["s", "h", "a"]),
        ("", "https://other", ("weather",), []),
        ("did:key:b", "https://other", ("medicine",), ["h"]),
    ):
        assert names_of(all_three, lab, address, purposes) == named
