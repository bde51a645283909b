"""The way to the weights: publications that hold, in a list that a lab may have made up."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archipel.node.client import NOBODY_S
from archipel.node.exchange import LabRefused
from archipel.node.weights import MAX_PAGES, Weights
from archipel.records.fields import BlobRef
from archipel.records.statements import RunOpened, WorkAnswered
from people import envelope, identity, ref
from specimens import ANSWERS, SMALL

OPENED = SMALL["run.opened"]
assert isinstance(OPENED, RunOpened)
EVERY = 4
"""Every so many versions there is an anchor."""


def published(version: int, weights: str = "weights") -> str:
    answer = ANSWERS["update"].model_copy(
        update={
            "version": version,
            "policy": ref(f"{weights} {version}".encode()).digest,
            "manifest": ref(b"manifest %d" % version),
            "anchor": None if version % EVERY else ref(b"anchor %d" % version),
            "delta": ref(b"delta %d" % version) if version else None,
        }
    )
    node = identity("node")
    fields = {"lab": OPENED.lab, "author": node.did, "seq": version + 1}
    said = WorkAnswered(**fields, work=f"run.{version}", answer=answer)
    return envelope(node, said).decode()


class Lab:
    """Answers `/versions` as a story wants, and counts the questions."""

    def __init__(self, page: Callable[[int], Any]) -> None:
        self.asked: list[int] = []
        self._page = page
        self.founding = NOBODY_S

    async def get(self, path: str, since: int) -> Any:
        assert path == "/runs/run/versions"
        self.asked.append(since)
        return self._page(since)


async def fetch(*blobs: BlobRef) -> list[Path]:
    return [Path(blob.digest) for blob in blobs]


def chains(lab: Lab, *wanted: tuple[int, int]) -> list[list[int]]:
    """Versions that lead from what is held to each target."""
    weights = Weights(lab, fetch)  # type: ignore[arg-type]  # as much of a reader as it needs

    async def story() -> list[list[int]]:
        found = [await weights.chain(OPENED, held, target, target) for held, target in wanted]
        return [[link.version for link in links] for links in found]

    return asyncio.run(story())


def honest(last: int, size: int = 1000, oldest: int = 0) -> Lab:
    return Lab(lambda since: [published(n) for n in range(max(since, oldest), last + 1)][:size])


def test_only_news_is_asked_for() -> None:
    lab = honest(9)
    assert chains(lab, (-1, 6), (6, 7), (-1, 5)) == [[4, 5, 6], [7], [4, 5]]
    assert lab.asked == [0]


def test_a_list_in_small_pages_is_read_to_its_end() -> None:
    lab = honest(9, size=2)
    assert chains(lab, (-1, 6)) == [[4, 5, 6]]
    assert lab.asked == [0, 2, 4, 6]


def test_a_lab_that_forgot_its_oldest_versions_still_leads_to_the_newest() -> None:
    assert chains(honest(9, oldest=8), (-1, 9)) == [[8, 9]]


def test_what_came_beside_a_lease_need_not_be_asked_for_and_a_gap_in_it_is_filled() -> None:
    lab = honest(9)
    weights = Weights(lab, fetch)  # type: ignore[arg-type]  # as much of a reader as it needs

    async def story() -> None:
        await weights.learn(OPENED, [published(n) for n in (4, 5)])
        assert [link.version for link in await weights.chain(OPENED, -1, 5, 5)] == [4, 5]
        assert lab.asked == []
        await weights.learn(OPENED, [published(7)])
        assert weights.newest("run") == 7
        assert [link.version for link in await weights.chain(OPENED, 5, 7, 5)] == [6, 7]
        assert lab.asked == [0]

    asyncio.run(story())


def test_what_lies_before_the_anchor_in_use_is_forgotten_and_asked_for_again_when_needed() -> None:
    lab = honest(9)
    weights = Weights(lab, fetch)  # type: ignore[arg-type]  # as much of a reader as it needs

    async def numbers(held: int, target: int, lowest: int) -> list[int]:
        return [link.version for link in await weights.chain(OPENED, held, target, lowest)]

    async def story() -> None:
        assert await numbers(-1, 9, 9) == [8, 9]
        assert set(weights._known["run"].versions) == {8, 9}
        assert weights.newest("run") == 9
        assert await numbers(-1, 6, 6) == [4, 5, 6], "an evaluation of an older version"
        assert set(weights._known["run"].versions) == set(range(4, 10))
        assert await numbers(9, 9, 6) == [], "the older version is still in use"
        assert set(weights._known["run"].versions) == set(range(4, 10))
        assert lab.asked == [0, 0]
        for version in range(10, 60):
            await weights.learn(OPENED, [published(version)])
            assert await numbers(version - 1, version, version) == [version]
            assert len(weights._known["run"].versions) <= EVERY
        assert lab.asked == [0, 0]

    asyncio.run(story())


def test_at_another_lab_nothing_that_the_first_one_said_counts() -> None:
    lab = honest(9)
    weights = Weights(lab, fetch)  # type: ignore[arg-type]  # as much of a reader as it needs

    async def story() -> None:
        await weights.chain(OPENED, -1, 5, 5)
        assert weights.newest("run") == 9
        weights.forget()
        assert weights.newest("run") == -1
        await weights.learn(OPENED, [published(0, "the other lab's weights")])

    asyncio.run(story())


@pytest.mark.parametrize(
    "page",
    [
        lambda since: [published(since)],
        lambda since: [published(n) for n in range(since, since + 3)],
    ],
)
def test_a_list_without_end_is_given_up(page: Callable[[int], Any]) -> None:
    lab = Lab(page)
    with pytest.raises(LabRefused, match="broken-chain"):
        chains(lab, (-1, 999_999))
    assert len(lab.asked) == MAX_PAGES


@pytest.mark.parametrize("page", [[], [published(0)]])
def test_a_list_that_leads_nowhere_is_refused_after_it_stood_still(page: list[str]) -> None:
    lab = Lab(lambda since: page)
    with pytest.raises(LabRefused, match="broken-chain"):
        chains(lab, (-1, 3))
    assert len(lab.asked) <= 2


@pytest.mark.parametrize("page", [None, 7, {}, [7], [None], [[]]])
def test_a_list_of_other_things_is_refused(page: Any) -> None:
    with pytest.raises(LabRefused, match="unexpected-answer"):
        chains(Lab(lambda since: page), (-1, 3))


@pytest.mark.parametrize("page", [["{}"], ["\ud800"], [published(0), ""]])
def test_a_record_that_is_none_is_refused(page: list[str]) -> None:
    with pytest.raises(LabRefused, match="bad-version"):
        chains(Lab(lambda since: page), (-1, 3))


def test_a_version_never_gets_other_weights() -> None:
    """Not in one list, and not in a later one."""
    both = [published(0), published(0, "other weights")]
    with pytest.raises(LabRefused, match="bad-version"):
        chains(Lab(lambda since: both), (-1, 0))
    pages = iter([[published(0)], [published(0, "other weights"), published(1)]])
    with pytest.raises(LabRefused, match="bad-version"):
        chains(Lab(lambda since: next(pages)), (-1, 0), (0, 1))


def test_another_history_of_a_version_is_read_anew_and_asked_about_without_being_believed() -> None:
    lab, restored = honest(9), {"weights": "weights"}
    lab._page = lambda since: [published(n, restored["weights"]) for n in range(since, 10)]
    weights = Weights(lab, fetch)  # type: ignore[arg-type]  # as much of a reader as it needs

    def digest(version: int) -> str:
        return ref(f"{restored['weights']} {version}".encode()).digest

    async def story() -> None:
        await weights.chain(OPENED, -1, 6, 6)
        assert not weights.forget_other("run", 6, digest(6))
        assert not weights.forget_other("other", 6, digest(7))
        restored["weights"] = "other weights"
        assert await weights.policy_of(OPENED, 6) == digest(6)
        assert await weights.policy_of(OPENED, 12) is None
        with pytest.raises(LabRefused, match="and had"):
            await weights.learn(OPENED, [published(6, "other weights")])
        assert weights.forget_other("run", 6, digest(6))
        (first, *_) = await weights.chain(OPENED, -1, 6, 6)
        assert first.policy == digest(4)

    asyncio.run(story())
