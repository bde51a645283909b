"""What was promised for an hour stays for an hour of a door that is up, whatever its machine's clock says."""

from pathlib import Path

import pytest

from archipel.door.leaps import LEAP_MS, Passing
from open_door import run, training, world

HOUR_MS = 3_600_000


class Clocks:
    """The wall's, which is set, and the one that nobody sets."""

    def __init__(self) -> None:
        self.wall_ms, self.passed_ms = 10**12, 0

    def pass_(self, ms: int) -> None:
        self.wall_ms, self.passed_ms = self.wall_ms + ms, self.passed_ms + ms

    def wall(self) -> int:
        return self.wall_ms

    def ticks(self) -> int:
        return self.passed_ms


@pytest.mark.parametrize("leap_ms", [12 * HOUR_MS, -12 * HOUR_MS, 2 * LEAP_MS])
@pytest.mark.parametrize("shut", [False, True])
def test_an_answer_that_nobody_fetched_outlives_a_clock_that_is_set_and_a_door_that_was_shut(
    tmp_path: Path, leap_ms: int, shut: bool
) -> None:
    clocks = Clocks()

    async def story() -> None:
        async with world(tmp_path, now_ms=clocks.wall, ticks_ms=clocks.ticks) as one:
            client = await one.client()
            model = await client.model()
            body = training(model, 1, [1, 2, 3])
            future = (await client.post("forward_backward", body))["request_id"]
            saved = {"model_id": model, "seq_id": 2, "path": "a", "ttl_seconds": 7200}
            path = (await client.end_of((await client.post("save_weights", saved))["request_id"]))["path"]  # fmt: skip
            expected = await client.end_of(future)
            await one.door.sweep()
            clocks.pass_(9 * 60_000)
            clocks.wall_ms += leap_ms
            if not shut:
                await one.door.sweep()
                assert await client.end_of(future) == expected
        async with world(tmp_path, now_ms=clocks.wall, ticks_ms=clocks.ticks) as one:
            again = type(client)(one.http, client.key, client.session)
            await one.door.sweep()
            assert await again.end_of(future) == expected
            assert (await again.ask("POST", "session_heartbeat", {"session_id": client.session})).status_code == 200  # fmt: skip
            kept = await again.ask("POST", "weights_info", {"tinker_path": path})
            assert kept.status_code == 200, kept.text
            for _ in range(3):  # it grows old all the same
                clocks.pass_(6 * 60_000)
                await one.door.sweep()
            assert (await again.ask("POST", "retrieve_future", {"request_id": future})).status_code == 410  # fmt: skip

    run(story)


def test_what_was_not_written_down_is_found_again() -> None:
    clocks = Clocks()
    passing = Passing(clocks.ticks, clocks.wall_ms)
    clocks.pass_(60_000)
    clocks.wall_ms += HOUR_MS
    assert passing.leap_ms(clocks.wall_ms) == HOUR_MS
    assert passing.leap_ms(clocks.wall_ms) == HOUR_MS
    passing.followed()
    clocks.pass_(60_000)
    assert passing.leap_ms(clocks.wall_ms) == 0
    clocks.wall_ms += LEAP_MS - 1
    assert passing.leap_ms(clocks.wall_ms) == 0, "kept right"
