"""What a lab will let go is kept while it is there, and a release is made of it."""

import asyncio
import json
from pathlib import Path

import pytest

from live import live
from releases import files, looked_at, made, said
from releasing import told
from tiny import NAME


def collected(url: str, folder: Path, *more: str) -> dict[str, object]:
    words = ("collect", NAME, "--lab", url, "--into", str(folder), "--json", *more)
    return dict(json.loads(said(*words)))


@pytest.mark.slow
def test_a_release_of_what_was_collected_is_the_lab_s_own(site: Path) -> None:
    world, into = told(site / "other"), site / "kept"

    async def story() -> list[dict[str, object]]:
        async with live(world) as url:
            first = await asyncio.to_thread(collected, url, into)
            again = await asyncio.to_thread(collected, url, into, "--follow", "--every", "1")
            refused = ("collect", "other", "--lab", url, "--into", str(into))
            assert "opens no run 'other'" in await asyncio.to_thread(said, *refused, code=1)
            return [first, again]

    first, again = asyncio.run(story())
    world.close()
    assert first["new"] == first["blobs"]
    assert (again["new"], again["blobs"]) == (0, first["blobs"])
    assert again["over"] is True, "or it would follow still"
    kept = {path.name for path in (into / "blobs").rglob("*") if path.is_file()}
    from_kept = made(site, "of-kept", home="kept")
    assert looked_at(from_kept).holds
    assert len(kept) >= len([name for name in files(from_kept) if name.startswith("blobs/")])
    found = looked_at(from_kept).index
    assert found is not None
    assert len(found.missing) == int(str(first["gone"]) != "0")
