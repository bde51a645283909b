"""Mirrors: what comes is what was signed, from whoever has it, and only what is missing."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from archipel.release.index import plain_path
from archipel.release.mirroring.board import Board, Wanted
from archipel.release.mirroring.kept import Kept
from archipel.release.mirroring.mirror import Limits, Mirrored, mirror
from archipel.release.mirroring.origins import FolderOrigin, Origin, http_origin, plain_address
from archipel.release.mirroring.signed import STAGING, CannotMirror, Whose, agree
from archipel.release.oms.folder import file_sha256, sign_folder
from archipel.release.oms.key import SigningKey
from mirrors import BLOB, FILES, KEY, Web, small_release, web_of
from releases import files, said

WEIGHTS = "model.safetensors"


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    return small_release(tmp_path / "upstream")


@pytest.fixture
def web(upstream: Path) -> Iterator[Web]:
    with web_of(upstream) as found:
        yield found


@pytest.fixture
def other(upstream: Path) -> Iterator[Web]:
    with web_of(upstream) as found:
        yield found


def brought(
    to: Path,
    *names: str | Path,
    whose: Whose = Whose(),  # noqa: B008  frozen
    most: int = 10**9,
    stall_s: float = 5.0,
) -> Mirrored:
    with ExitStack() as stack:
        origins: list[Origin] = []
        for name in names:
            if isinstance(name, Path):
                origins.append(FolderOrigin(name))
            else:
                origins.append(one := http_origin(name, stall_s))
                stack.callback(one.client.close)
        return mirror(agree(origins, whose), Kept(to), Limits(most, stall_s), lambda where: None)


def test_a_mirror_has_the_same_bytes_and_a_second_call_fetches_none(
    web: Web, upstream: Path, tmp_path: Path
) -> None:
    made = brought(tmp_path / "to", web.url)
    assert made.is_whole
    assert not made.left
    assert files(tmp_path / "to") == files(upstream)
    assert not (tmp_path / "to" / STAGING).exists()
    assert web.counted["data/a.txt"] + web.counted["data/b/a.txt"] == 1, "equal bytes come once"
    web.asked.clear()
    again = brought(tmp_path / "to", web.url)
    assert again.num_fetched == 0
    assert set(web.counted) == {"release.pem", "release.sig"}


def test_what_was_damaged_is_mended_and_nothing_else_is_fetched(
    web: Web, upstream: Path, tmp_path: Path
) -> None:
    brought(tmp_path / "to", upstream)
    (tmp_path / "to" / WEIGHTS).write_bytes(b"weights?")
    (tmp_path / "to" / "README.md").unlink()
    made = brought(tmp_path / "to", web.url)
    assert made.num_fetched == 2
    assert set(web.counted) == {*("release.pem", "release.sig", WEIGHTS, "README.md")}
    assert files(tmp_path / "to") == files(upstream)


@pytest.mark.parametrize("ignores_range", [False, True])
def test_a_file_that_breaks_off_goes_on_where_it_broke(
    web: Web, upstream: Path, tmp_path: Path, ignores_range: bool
) -> None:
    web.break_at, web.ignores_range = {WEIGHTS: 100_000}, ignores_range
    made = brought(tmp_path / "to", web.url)
    assert made.is_whole
    assert files(tmp_path / "to") == files(upstream)
    assert [asked for name, asked in web.asked if name == WEIGHTS] == ["", "bytes=100000-"]


def test_a_part_from_an_earlier_call_goes_on_and_a_wrong_or_long_one_begins_anew(
    web: Web, upstream: Path, tmp_path: Path
) -> None:
    digest, _ = file_sha256(upstream / WEIGHTS)
    for name, part in (
        ("right", FILES[WEIGHTS][:1000]),
        ("wrong", b"x" * 1000),
        ("long", b"x" * 10**6),
        ("whole", FILES[WEIGHTS]),
    ):
        web.asked.clear()
        staging = tmp_path / name / STAGING
        staging.mkdir(parents=True)
        (staging / digest).write_bytes(part)
        made = brought(tmp_path / name, web.url)
        assert made.is_whole, name
        assert not made.left, name
        assert files(tmp_path / name) == files(upstream)
        ranges = [asked for each, asked in web.asked if each == WEIGHTS]
        assert (
            ranges
            == {
                "right": ["bytes=1000-"],
                "wrong": ["bytes=1000-", ""],
                "long": ["bytes=1000000-", ""],
                "whole": [],
            }[name]
        )


def test_a_mirror_that_lies_is_left_and_named_and_the_rest_comes_from_another(
    web: Web, other: Web, upstream: Path, tmp_path: Path
) -> None:
    lies = FILES[WEIGHTS][:-1] + b"S"
    web.lie = {WEIGHTS: lies, "README.md": b"a cord\n", "config.json": b"[]", "data/empty": b"x"}
    made = brought(tmp_path / "to", web.url, other.url)
    assert made.is_whole
    assert files(tmp_path / "to") == files(upstream)
    assert "is not as it was signed" in made.left[web.url]
    assert other.url not in made.left
    web.asked.clear()
    alone = brought(tmp_path / "alone", web.url)
    assert not alone.is_whole
    assert "is not as it was signed" in alone.left[web.url]
    assert not (tmp_path / "alone" / "release.sig").exists()
    assert set(files(tmp_path / "alone")) <= set(files(upstream)) | {
        path for path in files(tmp_path / "alone") if path.startswith(STAGING)
    }
    assert all(data != lies for data in files(tmp_path / "alone").values())


def test_two_who_sent_one_file_together_are_not_blamed_before_one_sent_it_alone(
    web: Web, other: Web, upstream: Path, tmp_path: Path
) -> None:
    first = small_release(tmp_path / "first")
    (first / WEIGHTS).unlink()
    web.lie, web.break_at = {WEIGHTS: b"x" * len(FILES[WEIGHTS])}, {WEIGHTS: 50_000}
    made = brought(tmp_path / "to", web.url, other.url)
    assert made.is_whole
    assert files(tmp_path / "to") == files(upstream)
    assert other.url not in made.left


def test_a_mirror_that_stalls_or_crawls_is_left_in_time(
    web: Web, other: Web, upstream: Path, tmp_path: Path
) -> None:
    web.crawl = set(files(upstream)) - {
        *("release.pem", "release.sig", "release.json", "data/empty")
    }
    made = brought(tmp_path / "to", web.url, other.url, stall_s=0.4)
    assert made.is_whole
    assert files(tmp_path / "to") == files(upstream)
    assert other.url not in made.left
    if web.url in made.left:
        assert "came in" in made.left[web.url]
    alone = brought(tmp_path / "alone", web.url, stall_s=0.4)
    assert "came in" in alone.left[web.url]
    assert not alone.is_whole


def test_what_one_lacks_another_has_and_what_none_has_is_named(
    web: Web, other: Web, upstream: Path, tmp_path: Path
) -> None:
    web.lost, other.lost = {WEIGHTS, "config.json"}, {"README.md", "config.json"}
    made = brought(tmp_path / "to", web.url, other.url)
    assert made.lacking == ("config.json",)
    assert not made.left
    assert not (tmp_path / "to" / "release.sig").exists()
    said_of = said("mirror", web.url, str(tmp_path / "to"), "--also", other.url, code=1)
    assert "1 file of the release was to be had nowhere as signed: config.json" in said_of
    assert brought(tmp_path / "to", upstream).num_fetched == 1


def test_more_bytes_than_the_index_or_the_caller_allows_are_not_kept(
    web: Web, tmp_path: Path
) -> None:
    (blob,) = [path for path in files(web.folder) if path.startswith("blobs/")]
    web.lie = {blob: BLOB + b"more"}
    made = brought(tmp_path / "to", web.url)
    assert f"more than {len(BLOB)} bytes" in made.left[web.url]
    assert blob in made.lacking
    with pytest.raises(CannotMirror, match="more than 100000 bytes would be fetched"):
        brought(tmp_path / "little", web.url, most=100_000)


def test_an_origin_with_another_signature_key_or_release_is_left(
    upstream: Path, tmp_path: Path
) -> None:
    newer = small_release(tmp_path / "newer", title="another")
    made = brought(tmp_path / "to", upstream, newer)
    assert "it has another release" in made.left[str(newer)]
    assert made.is_whole
    with pytest.raises(CannotMirror, match="expected " + "0" * 64):
        brought(tmp_path / "none", upstream, whose=Whose(hint="0" * 64))
    assert brought(tmp_path / "key", upstream, whose=Whose(pem=KEY.public.pem)).is_whole
    (upstream / "release.sig").write_bytes(b"{}")
    with pytest.raises(CannotMirror, match="no release could be read"):
        brought(tmp_path / "none", upstream)
    with pytest.raises(CannotMirror, match="holds another release"):
        brought(tmp_path / "to", newer)


def test_no_path_and_no_link_leads_out_of_the_mirror(upstream: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    to = tmp_path / "to"
    to.mkdir()
    (to / "data").symlink_to(outside)
    with pytest.raises(CannotMirror, match="is a link, or lies behind one"):
        brought(to, upstream)
    assert not list(outside.iterdir())
    (to / "data").unlink()
    (tmp_path / "weights").write_bytes(FILES[WEIGHTS])
    (upstream / WEIGHTS).unlink()
    (upstream / WEIGHTS).symlink_to(tmp_path / "weights")
    assert WEIGHTS in brought(to, upstream).lacking, "a link in the origin is not followed"
    evil = SigningKey.from_scalar(9)
    hostile = small_release(tmp_path / "hostile")
    (hostile / STAGING).mkdir()
    (hostile / STAGING / "x").write_bytes(b"x")
    (hostile / "release.pem").write_bytes(evil.public.pem)
    (hostile / "release.sig").unlink()
    (hostile / "release.sig").write_bytes(sign_folder(hostile, "m", evil, "release.sig"))
    with pytest.raises(CannotMirror, match="where a mirror keeps what is not whole"):
        brought(tmp_path / "hurt", hostile)
    with pytest.raises(ValueError, match="leads out"):
        plain_path("a/../b")


@pytest.mark.slow
def test_a_withdrawn_upstream_leaves_every_mirror_as_good_as_it_was(
    site: Path, tmp_path: Path
) -> None:
    upstream = Path(shutil.copytree(site / "bundle", tmp_path / "upstream"))
    with web_of(upstream) as web:
        told = said("mirror", web.url, str(tmp_path / "one"))
    assert "were fetched" in told
    assert "archipel release verify" in told
    shutil.rmtree(upstream)
    assert "no release could be read" in said("mirror", web.url, str(tmp_path / "no"), code=1)
    with web_of(tmp_path / "one") as web:
        said("mirror", str(upstream), str(tmp_path / "two"), code=1)
        said("mirror", str(tmp_path / "one"), str(tmp_path / "two"), "--also", web.url)
    assert files(tmp_path / "two") == files(site / "bundle")
    assert said("verify", str(tmp_path / "two")).endswith("everything that was looked at holds\n")


def test_an_address_with_a_password_or_a_query_is_refused_without_repeating_it() -> None:
    for address in (
        "http://me:hush@h/m",
        "http://h/m?key=hush",
        "ftp://h/m",
        "http:///m",
        "http://h:x/",
    ):
        with pytest.raises(ValueError) as refused:
            plain_address(address)
        assert "me:hush" not in str(refused.value)


def test_a_file_nobody_has_is_given_up_and_all_workers_come_home() -> None:
    board = Board([Wanted("0" * 64, ("a",), 1)], ["x", "y"])
    first = board.take("x")
    assert first is not None
    first.tried.add("x")
    board.back(first)
    assert board.take("x") is None
    second = board.take("y")
    assert second is not None
    board.leave("y", "it lies")
    board.back(second)
    assert board.take("y") is None
    assert [each.paths for each in board.given_up] == [("a",)]
