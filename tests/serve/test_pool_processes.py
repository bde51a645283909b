"""A pool whose devices are processes, paired and encrypted, and killed from one moment to the next."""

import os
import random
import time
from pathlib import Path

import pytest

from archipel import source_environment
from archipel.bench.pool_site import Site
from archipel.engine.engine import EngineLimits, Request
from serve.pool_world import alone, apart, directory, run

pytestmark = pytest.mark.slow
LIMITS = EngineLimits(max_slots=16, max_cache_bytes=200_000_000)


def arriving(seed: int) -> dict[int, list[Request]]:
    rng = random.Random(seed)
    some = [
        Request(str(at), tuple(rng.randrange(64) for _ in range(5 + 9 * at)), at, 1 + at % 2, 80)
        for at in range(8)
    ]
    return {0: some[:4], 5: some[4:6], 20: some[6:]}


@pytest.mark.parametrize("seed", range(3))
def test_two_lines_of_two_processes_lose_any_of_them_by_sigkill_and_say_the_same(
    tmp_path: Path, seed: int
) -> None:
    model, rng = directory(tmp_path / "model"), random.Random(seed)
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), **source_environment()}
    site, lost = Site(tmp_path / "site", model, environment), list[str]()
    step = rng.randrange(4, 40)

    def at_step(at: int) -> None:
        if at == step:
            lost.append(rng.choice([each.name for each in site.devices.here()]))
            site.kill(lost[0])

    try:
        for _ in range(4):
            site.join(3)
        site.engine.welcome(is_loaded=True)
        end = time.monotonic() + 60
        while sum(bool(line.segments) for line in site.engine.lines) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        found = apart(run(site.engine, arriving(seed), at_step))
        assert found == apart(run(alone(model, limits=LIMITS), arriving(seed)))
        assert lost
        assert len(site.engine.lines) == 1
        site.join(3)
        site.engine.welcome(is_loaded=True)
        assert len(site.engine.lines) == 2  # with what was left of the line that was lost
        again = apart(run(site.engine, arriving(seed + 9)))
        assert again == apart(run(alone(model, limits=LIMITS), arriving(seed + 9)))
    finally:
        site.close()
