"""The node's files: what a child may hand over, and how much is kept."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.blobs import BlobStore
from archipel.node.answer_files import AnswerFile, BadAnswer
from archipel.node.approvals import approve, is_approved
from archipel.node.cache import Cache
from archipel.node.delivery import Opened, answer_from
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.parcel import MAX_PARCEL_BLOBS, SMALL_BLOB_BYTES
from archipel.records.words import Told
from people import ref
from specimens import POLICY, SPECS


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
    blobs = {f"prompts-{n}": ref(b"%d" % n) for n in (10, 9, 2, 11)} | {"manifest": ref(b"m")}
    values = {"policy": POLICY, "metrics": {}}
    answer = answer_from(SPECS["update"], Told(values=values, blobs=blobs, busy_ms=1))
    assert isinstance(answer, UpdateAnswer)
    assert [each.batch for each in answer.prompts] == [2, 9, 10, 11]


@pytest.mark.parametrize(
    ("values", "blobs"),
    [
        ({}, {"rollouts": ref(b"")}),
        ({"policy": POLICY}, {"rollouts": ref(b"")}),
        ({"policy": POLICY, "num_tokens": 1}, {}),
        ({"policy": "p", "num_tokens": 1}, {"rollouts": ref(b"")}),
        ({"policy": POLICY, "num_tokens": "many"}, {"rollouts": ref(b"")}),
    ],
)
def test_an_answer_that_lacks_something_says_what(values: dict, blobs: dict) -> None:
    with pytest.raises(BadAnswer, match="lacks"):
        answer_from(SPECS["rollout"], Told(values=values, blobs=blobs, busy_ms=1))


def test_small_files_of_an_answer_travel_together_as_far_as_a_parcel_holds_them(
    scratch: Path,
) -> None:
    files = {}
    for number, size in enumerate([400_000, 2 * SMALL_BLOB_BYTES, 500_000, 300_000]):
        files[f"role-{number}"] = scratch / f"{number}"
        files[f"role-{number}"].write_bytes(bytes([number]) * size)
    with Opened(files, [scratch]) as opened:
        assert opened.blobs == {role: ref(path.read_bytes()) for role, path in files.items()}
        assert [len(data) for data in opened.small.values()] == [400_000, 500_000]
        assert [file.blob.size for file in opened.large] == [2 * SMALL_BLOB_BYTES, 300_000]
        assert read(opened.large[1]) == files["role-3"].read_bytes()


def test_an_answer_of_countless_files_is_none(scratch: Path) -> None:
    files = {f"role-{n}": scratch / "absent" for n in range(MAX_PARCEL_BLOBS + 1)}
    with pytest.raises(BadAnswer, match="257 files"):
        Opened(files, [scratch])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "update"


def test_a_recipe_is_approved_by_its_digest_alone_and_by_nobody_else(home: Path) -> None:
    digest, other = ref(b"recipe").digest, ref(b"other").digest
    assert not is_approved(home, digest)
    path = approve(home, digest)
    assert path.stat().st_mode & 0o777 == 0o600
    assert is_approved(home, digest)
    assert not is_approved(home, other)
    approve(home, digest)
    path.chmod(0o666)
    assert not is_approved(home, digest), "anybody may have written it"


def test_a_link_approves_nothing(home: Path) -> None:
    digest = ref(b"recipe").digest
    target = approve(home, ref(b"other").digest)
    link = target.with_name(digest.removeprefix("sha256:"))
    link.symlink_to(target)
    with pytest.raises(OSError):
        approve(home, digest)


@pytest.mark.parametrize("others", [0o001, 0o002, 0o004, 0o010, 0o020, 0o040, 0o777])
def test_an_approval_that_others_may_touch_is_none(home: Path, others: int) -> None:
    digest = ref(b"recipe").digest
    path = approve(home, digest)
    path.chmod(0o600 | others)
    assert not is_approved(home, digest)
    path.chmod(0o600)
    assert is_approved(home, digest)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file away")
def test_an_approval_by_somebody_else_is_none(home: Path) -> None:
    digest = ref(b"recipe").digest
    os.chown(approve(home, digest), 1, 1)
    assert not is_approved(home, digest)


def test_approvals_lie_where_nobody_else_can_put_one(home: Path) -> None:
    path = approve(home, ref(b"recipe").digest)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_cache_may_be_exactly_full_and_then_loses_what_was_unused_for_longest(
    tmp_path: Path,
) -> None:
    store = BlobStore(tmp_path)
    cache = Cache(store, 30)
    first, second, third, fourth = (store.put_bytes(bytes([n]) * 10) for n in range(4))
    for digest in (first, second, third, first):
        cache.use([digest])
    assert set(store.digests()) == {first, second, third, fourth}, "30 bytes were used"
    cache.use([fourth])
    assert set(store.digests()) == {first, third, fourth}
    cache.use([])
    assert set(store.digests()) == {first, third, fourth}, "30 bytes may stay"


def test_a_cache_on_a_store_without_room_is_emptied_at_the_start_and_another_is_kept(
    tmp_path: Path,
) -> None:
    store = BlobStore(tmp_path, quota_bytes=20)
    store.put_bytes(b"x" * 10)
    Cache(store, 100)
    assert store.used().total_bytes == 10
    store.put_bytes(b"y" * 10)
    Cache(store, 100)
    assert store.used().total_bytes == 0
