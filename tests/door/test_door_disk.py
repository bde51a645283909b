"""A disk or a system that gives nothing for a while: whoever was promised something waits, and nothing is held against them."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from archipel.door import door, driving, sampled
from archipel.door.journal import Journal, JournalBroken
from archipel.door.means import MAX_DEFECTS
from open_door import run, sampling, step, training, world

AWAY = JournalBroken("no room")


@pytest.mark.parametrize("what", ["operations", "a sample"])
@pytest.mark.parametrize("way", ["do", "look"])
def test_operations_and_samples_end_as_if_the_disk_had_never_been_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, way: str
) -> None:
    """For longer than the door bears defects of its own."""
    for module in (driving, sampled):
        monkeypatch.setattr(module, "wait_s", lambda tries: 0.001)
    monkeypatch.setattr(door, "SWEEP_S", 60.0)

    async def told(folder: Path, tries: int) -> list[dict[str, Any]]:
        async with world(folder) as one:
            client = await one.client()
            model, sampler = await client.model(), await client.sampler(0)
            asked = {
                "operations": [
                    ("forward_backward", training(model, 1, [1, 2, 3])),
                    ("optim_step", step(model, 2)),
                ],
                "a sample": [("asample", sampling(sampler, 0, [1, 2]))],
            }[what]
            left = [tries]
            own = getattr(Journal, way)

            async def beset(self: Journal, act: Any, *args: Any, **kwargs: Any) -> Any:
                is_of_a_task = (asyncio.current_task() or asyncio.Task).get_name() != "main"
                if is_of_a_task and left[0]:
                    left[0] -= 1
                    raise AWAY
                return await own(self, act, *args, **kwargs)

            with monkeypatch.context() as patched:
                patched.setattr(Journal, way, beset)
                asyncio.current_task().set_name("main")  # type: ignore[union-attr]  # there is one
                futures = [(await client.post(path, body))["request_id"] for path, body in asked]
                said = [await client.end_of(each) for each in futures]
            assert left == [0]
            return [{k: v for k, v in each.items() if "id" not in k} for each in said]

    for name in ("calm", "beset"):
        (tmp_path / name).mkdir()

    async def story() -> None:
        calm = await told(tmp_path / "calm", 0)
        assert not any("error" in each for each in calm)
        beset = await told(tmp_path / "beset", 4 * MAX_DEFECTS)
        assert [each.keys() for each in beset] == [each.keys() for each in calm]
        assert what == "a sample" or beset == calm

    run(story)


@pytest.mark.parametrize("why", [MemoryError(), sqlite3.OperationalError("unable to open")])
def test_what_the_system_does_not_give_is_said_in_one_way_and_the_writer_lives_on(
    tmp_path: Path, why: Exception
) -> None:
    def fails(db: sqlite3.Connection) -> None:
        raise why

    def count(db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT count(*) FROM sessions").fetchone()[0])

    async def story() -> None:
        journal = Journal(tmp_path)
        for way in (journal.do, journal.look):
            with pytest.raises(JournalBroken):
                await way(fails)
            assert await way(count) == 0
        journal.close()

    run(story)
