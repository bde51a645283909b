"""From where on may a memory go on? By digests that the ledger has, never by a number alone."""

import asyncio
from pathlib import Path

import pytest

from archipel.node.going_back import confirmed, went_back
from archipel.records.words import Memory
from archipel.work.going_back import KEPT_ASIDE, set_aside
from archipel.work.remembered import GoBack, Remembered


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
    assert judged(known(2)) == (2, None, []), "as a release left it that wrote no digests down"
    again = known(5, 55, parent=digest(4), inputs=INPUTS)
    assert judged(again, known(4, 4)) == (5, None, [])
    assert judged(known(5), known(4, 4)) == (5, None, []), "likewise"


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (known(7, 7), "version 7 is remembered, and the ledger that is served now asks for version 5"),
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
