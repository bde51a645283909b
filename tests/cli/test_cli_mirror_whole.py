"""A mirror with its blobs holds what a successor needs: fetched from a real lab, and from another mirror once that is gone."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.blobs import BlobStore
from archipel.cli.mirror_rounds import Mirrored, Rounds
from archipel.cli.telling import Tell
from archipel.lab.garbage import needed
from archipel.lab.mirrors.keeping import BLOBS, LEDGER
from archipel.lab.mirrors.seen_files import keep_seen
from archipel.ledger.mirror import Mirror
from archipel.ledger.verification import lab_key
from archipel.records.mirror_documents import MirrorView
from live import live
from people import identity
from world import World

pytestmark = pytest.mark.slow
OBSERVER = identity("observer")


def once(
    what: Mirrored, view: MirrorView | None = None, tell: Tell = lambda line: None
) -> MirrorView:
    what.folder.mkdir(parents=True, exist_ok=True)
    rounds = Rounds(what, OBSERVER, tell)
    begun = view or MirrorView(name=what.name, lab="", url=what.url)
    rounds.resume(begun)
    view = rounds.once(begun)
    keep_seen(what.folder, view)
    return view


def test_a_successor_finds_all_it_needs_in_a_mirror_or_in_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("world.ORIGIN", lab_key(identity("lab").did).name)
    monkeypatch.setattr("archipel.cli.telling.SELDOM_S", -1.0)
    told = list[str]()
    world, host = World(tmp_path / "lab"), World(tmp_path / "host")
    world.started(versions=3, checkpoint_every=2)
    world.provider("quick", 40_000)
    live_digests = needed(world.state)
    first = Mirrored("first", "", tmp_path / "mirrors" / "first", quota_bytes=2**30, patience_s=0.0)

    async def mirrored() -> str:
        async with live(world) as url:
            assert len(live_digests) > 3
            poor = await asyncio.to_thread(
                once, replace(first, url=url, quota_bytes=1), None, told.append
            )
            size, wanted = world.state.size, len(live_digests)
            assert told[:size] == [f"{n} of {size} entries" for n in range(1, size + 1)]
            assert told[size:] == [f"{n} of {wanted} blobs" for n in range(wanted)]
            assert poor.blobs.unfit > 0
            view = await asyncio.to_thread(once, replace(first, url=url), poor)
            assert (view.standing, view.folded) == ("followed", world.state.size)
            assert view.blobs.gone == 0
            assert view.blobs.kept == view.blobs.wanted == len(live_digests)
            none = await asyncio.to_thread(once, replace(first, url=url, expect=OBSERVER.did, folder=tmp_path / "none"))  # fmt: skip
            assert "expected" in none.reason
        return url

    gone = asyncio.run(mirrored())
    store = BlobStore(first.folder / BLOBS)
    assert {digest for digest in live_digests if store.exists(digest)} == live_digests
    assert Mirror(first.folder / LEDGER, lab_key(world.state.lab)).size == world.state.size

    async def from_the_mirror() -> None:
        async with live(host, mirrors=tmp_path / "mirrors") as url:
            second = Mirrored("second", gone, tmp_path / "second", quota_bytes=2**30, patience_s=0.0, compare=(url,))  # fmt: skip
            begun = MirrorView(name="second", lab=world.state.lab, url=gone, entries=1)
            view = await asyncio.to_thread(once, second, begun)
            assert view.standing == "silent"
            assert view.folded == world.state.size
            assert view.blobs.kept == len(live_digests)

    asyncio.run(from_the_mirror())
    world.close()
    host.close()
