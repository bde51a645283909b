"""The node's files: what a child may hand over, and how much is kept."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.blobs import BlobStore
from archipel.node.answer_files import AnswerFile, BadAnswer
from archipel.node.cache import Cache
from archipel.node.delivery import statement_of
from archipel.records.statements import VersionPublished
from people import ref
from specimens import SMALL


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    made = tmp_path / "home" / "scratch"
    (made / "run.1").mkdir(parents=True)
    (made.parent / "node.key").write_bytes(b"secret")
    return made


def read(answer: AnswerFile, offset: int = 0) -> bytes:
    async def all_of_it() -> bytes:
        return b"".join([chunk async for chunk in answer.rest(offset)])

    return asyncio.run(all_of_it())


def test_an_answer_is_described_and_sent_from_one_open_file(scratch: Path) -> None:
    path = scratch / "run.1" / "rollouts"
    path.write_bytes(b"honest answer")
    with AnswerFile(path, [scratch]) as answer:
        path.unlink()
        path.symlink_to(scratch.parent / "node.key")
        assert answer.blob == ref(b"honest answer")
        assert read(answer) == b"honest answer"
        assert read(answer, 7) == b"answer"


def test_an_answer_that_shrinks_on_its_way_is_noticed(scratch: Path) -> None:
    path = scratch / "run.1" / "rollouts"
    path.write_bytes(b"honest answer")
    with AnswerFile(path, [scratch]) as answer:
        os.truncate(path, 3)
        with pytest.raises(BadAnswer, match="shrank"):
            read(answer)


def test_no_link_pipe_or_path_makes_the_agent_send_a_file_of_its_owner(scratch: Path) -> None:
    work, key = scratch / "run.1", scratch.parent / "node.key"
    (work / "link").symlink_to(key)
    (work / "hard").hardlink_to(key)
    (work / "folder").symlink_to(scratch.parent)
    os.mkfifo(work / "pipe")
    for path in (
        key,
        work / "link",
        work / "hard",
        work / "folder" / "node.key",
        work / ".." / ".." / "node.key",
        work / "pipe",
        work,
        work / "absent",
        Path("/dev/zero"),
    ):
        with pytest.raises(BadAnswer):
            AnswerFile(path, [scratch])


@given(
    st.lists(st.sets(st.integers(0, 7), max_size=4), max_size=12),
    st.integers(0, 60),
)
@settings(max_examples=25, deadline=None)
def test_a_cache_keeps_what_the_work_needs_and_little_more(
    tmp_path_factory: pytest.TempPathFactory, works: list[set[int]], limit: int
) -> None:
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    cache = Cache(store, limit)
    data = [bytes([n]) * 10 for n in range(8)]
    for work in works:
        digests = [store.put_bytes(data[n]) for n in work]
        cache.use(digests)
        assert all(store.exists(digest) for digest in digests)
        assert store.used().total_bytes <= max(limit, 10 * len(work))
    cache.clear()
    assert store.used().total_bytes == 0


def test_what_was_cached_before_a_restart_counts_too(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    old = store.put_bytes(b"o" * 50)
    cache = Cache(store, 60)
    new = store.put_bytes(b"n" * 50)
    cache.use([new])
    assert store.digests() == [new]
    assert not store.exists(old)


def test_prompt_batches_are_published_in_the_order_of_their_numbers() -> None:
    granted = SMALL["lease.granted (update)"]
    blobs = {f"prompts-{n}": ref(b"%d" % n) for n in (10, 9, 2, 11)} | {"manifest": ref(b"m")}
    kind, fields = statement_of(granted, {"policy": "p", "metrics": {}}, blobs, 1)
    assert kind is VersionPublished
    assert [each.batch for each in fields["prompts"]] == [2, 9, 10, 11]


@pytest.mark.parametrize(
    ("values", "blobs"),
    [
        ({}, {"rollouts": ref(b"")}),
        ({"policy": "p"}, {"rollouts": ref(b"")}),
        ({"policy": "p", "num_tokens": 1}, {}),
    ],
)
def test_an_answer_that_lacks_something_says_what(values: dict, blobs: dict) -> None:
    with pytest.raises(BadAnswer, match="lacks"):
        statement_of(SMALL["lease.granted"], values, blobs, 1)
