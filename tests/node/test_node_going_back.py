"""From where on may a memory go on? By digests that the ledger has, never by a number alone."""

import asyncio
import os
from pathlib import Path

import pytest

from archipel.node.exchange import LabRefused
from archipel.node.going_back import STAYS_S, confirmed, went_back, why_stays
from archipel.records.kept import kept
from archipel.records.words import Memory
from archipel.work.going_back import KEPT_ASIDE, set_aside
from archipel.work.remembered import MAX_WHY, GoBack, Remembered


def digest(text: object) -> str:
    return f"sha256:{str(text).rjust(64, '0')}"


LEDGER = {number: digest(number) for number in range(5)}
"""Version -> state digest; version 5 is asked for."""
MEMORY, INPUTS = Memory(4, None, -1, digest(4)), digest(99)


def known(version: int, policy: object = None, **more: str) -> Remembered:
    return Remembered(version=version, policy=None if policy is None else digest(policy), **more)


def judged(*remembered: Remembered) -> tuple[int, GoBack | None, list[int]]:
    asked: list[int] = []

    async def policy_of(version: int) -> str | None:
        asked.append(version)
        return LEDGER.get(version)

    position, back = asyncio.run(confirmed(remembered, MEMORY, INPUTS, policy_of))
    return position, back, asked


def test_what_the_ledger_confirms_is_gone_on_from_and_nobody_is_asked_who_need_not_be() -> None:
    assert judged() == (-1, None, [])
    assert judged(known(4, 4), known(3, 77)) == (4, None, [])
    assert judged(known(3, 3)) == (3, None, [3])
    for version in (2, 4):
        assert judged(known(version)) == (version, None, []), "as a release left it without digests"
    again = known(5, 55, parent=digest(4), inputs=INPUTS)
    assert judged(again, known(4, 4)) == (5, None, [])
    assert judged(known(5), known(4, 4)) == (5, None, []), "likewise"


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (known(7, 7), "version 7 is remembered, and the ledger that is served now asks for version 5"),
        (known(6), "version 6 is remembered, and the ledger that is served now asks for version 5"),
        (known(5, 5, parent=digest(4), inputs=digest(98)), "version 5 was made from other results"),
        (known(5, 5, parent=digest(44), inputs=INPUTS), "version 5 was made from other results"),
        (known(4, 44), f"version 4 is remembered as {digest(44)}, and is {digest(4)}"),
        (known(3, 33), f"version 3 is remembered as {digest(33)}, and is {digest(3)}"),
    ],
)  # fmt: skip
def test_what_is_ahead_or_of_another_history_gives_way_to_the_newest_that_holds(
    first: Remembered, why: str
) -> None:
    position, back, _ = judged(first, known(2, 22), known(1, 1), known(0, 0))
    assert back is not None
    assert (position, back.to) == (1, 1)
    assert back.why.startswith(why)
    position, back, _ = judged(first)
    assert (position, back and back.to) == (-1, -1)


@pytest.mark.parametrize("published", [None, digest(4)])
def test_a_lab_s_own_word_takes_nothing_from_a_memory(published: str | None) -> None:
    """It leases from a version that no trusted key published so: what is remembered stays where it lies."""

    async def policy_of(version: int) -> str | None:
        return published if version == MEMORY.version else LEDGER.get(version)

    lied = Memory(4, None, -1, digest(44))
    told = (
        f"goes on from version 4 as {digest(44)}, and trusted keys published {published or 'none'}"
    )
    for first in (known(4, 4), known(9, 9), known(5, 5, parent=digest(4), inputs=INPUTS)):
        with pytest.raises(LabRefused, match=told):
            asyncio.run(confirmed([first, known(1, 1)], lied, INPUTS, policy_of))
    assert asyncio.run(confirmed([known(4, 44)], lied, INPUTS, policy_of)) == (4, None)


def test_what_was_set_aside_is_not_pushed_out_before_somebody_had_time_to_look(
    tmp_path: Path,
) -> None:
    run, now_s = tmp_path / "memory" / "run-0", 1e9
    for number in range(KEPT_ASIDE):
        assert why_stays(run, now_s) == ""
        run.mkdir(parents=True, exist_ok=True)
        (run / "000000009.safetensors").write_bytes(b"x")
        place = set_aside(run, GoBack(to=3, why=f"reason {number}"))
        assert place is not None
        os.utime(place / "why.json", (now_s + number, now_s + number))
    assert f"{KEPT_ASIDE} times within 7 days" in why_stays(run, now_s + STAYS_S - 1)
    assert why_stays(run, now_s + STAYS_S) == ""
    assert why_stays(tmp_path / "memory" / "run-1", now_s) == ""


def test_a_disk_that_was_full_pushes_nothing_out_that_was_set_aside(tmp_path: Path) -> None:
    run = tmp_path / "run-0"
    for number in range(KEPT_ASIDE):
        (run / f"aside-{number + 1}").mkdir(parents=True)
        (run / f"aside-{number + 1}" / ("why.json" if number else "000000008.safetensors")).touch()
    (run / "000000009.safetensors").touch()
    assert set_aside(run, GoBack(to=3, why="")) == run / "aside-2"
    assert {each.name for each in run.iterdir()} == {"aside-1", "aside-2"}


def test_whatever_a_work_process_leaves_in_its_memory_it_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "memory" / "run-0"
    for name in ("aside-1", "aside-2", "aside-3"):
        (run / name).mkdir(parents=True)
    os.mkfifo(run / "aside-1" / "why.json")
    (run / "aside-2" / "why.json").write_bytes(kept({"to": float("inf"), "why": ""}))
    (run / "aside-3" / "why.json").write_bytes(kept({"to": 1, "why": "it is ahead"}))
    assert [each.why for each in went_back(tmp_path)] == ["it is ahead"]
    (run / "aside-2" / "why.json").write_bytes(kept({"to": 1, "why": 700 * "long"}))
    assert [len(each.why) for each in went_back(tmp_path)] == [MAX_WHY, len("it is ahead")]
    monkeypatch.setattr("archipel.node.going_back.MAX_ASIDE", 2)
    assert len(list(went_back(tmp_path))) == 1, "so many folders are looked at"


def test_before_the_first_version_only_a_first_version_is_remembered_rightly() -> None:
    async def nobody(version: int) -> str | None:
        raise AssertionError(version)

    nothing = Memory(-1, None, -1)
    assert asyncio.run(confirmed([known(0, 0)], nothing, None, nobody)) == (0, None)
    position, back = asyncio.run(confirmed([known(3, 3), known(0, 0)], nothing, None, nobody))
    assert (position, back and back.to) == (0, 0)


def test_what_is_set_aside_lies_there_with_the_reason_and_is_bounded(tmp_path: Path) -> None:
    run = tmp_path / "memory" / "run-0"
    for number in range(KEPT_ASIDE + 2):
        (run / "outbox-7").mkdir(parents=True)
        (run / "000000009.parts").mkdir()
        for name in ("000000009.safetensors", "000000003.safetensors", "grades-9.json"):
            (run / name).write_bytes(b"x")
        place = set_aside(run, GoBack(to=3, why=f"reason {number}"))
        assert place == run / f"aside-{number + 1}"
        assert {each.name for each in place.iterdir()} == {
            "outbox-7", "000000009.parts", "000000009.safetensors", "why.json",
        }  # fmt: skip
    assert (run / "000000003.safetensors").exists()
    assert set_aside(run, GoBack(to=3, why="again")) is None
    found = list(went_back(tmp_path))
    assert [each.why for each in found] == [f"reason {number}" for number in range(2, 6)]
    assert {each.to for each in found} == {3}
    (found[0].folder / "why.json").write_bytes(b"{")
    assert len(list(went_back(tmp_path))) == KEPT_ASIDE - 1
