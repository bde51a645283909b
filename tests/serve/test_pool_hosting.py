"""A gateway's port: who made what is no number gets no second link, and everybody else is taken."""

import contextlib
import threading
import time
from pathlib import Path

import pytest

from archipel.engine.engine import EngineLimits, Request
from archipel.serve.pool.credentials import own_credentials
from archipel.serve.pool.devices import Devices
from archipel.serve.pool.gateway import PoolEngine
from archipel.serve.pool.hosting import Host, Place
from archipel.serve.pool.links import LinkLost
from archipel.serve.pool.paired import PairedDevices
from archipel.serve.pool.pairing import Joiner, read_code
from archipel.serve.pool.stage import Gift, Stage, work
from archipel.serve.pool.tls import connect
from archipel.serve.pool.weights import Copies, Original
from serve.pool_world import alone, directory, run, spoiled

LIMITS = EngineLimits(max_slots=4, max_cache_bytes=2**22)


class Box:
    """A device of its own, paired."""

    def __init__(self, folder: Path, host: Host, model: Path, name: str, layers: float) -> None:
        self.own, self.host, self.model = own_credentials(folder), host, model
        gives = round(layers * host._engine.placing.layer_bytes)
        self.gift, paired = Gift(name, gives), PairedDevices(folder / "paired")
        code = read_code(host.invite())
        self.gateway = Joiner(self.own, paired, name).join(host.address, code, 1)

    def come(self) -> threading.Thread:
        """Be linked, until the link ends."""
        link = connect(self.host.address, self.gateway.certificate, self.own)

        def hold() -> None:
            with contextlib.suppress(LinkLost):
                work(link, Stage(self.gift, Copies(self.model, None)))

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        return thread


def test_a_device_whose_numbers_were_none_is_not_taken_again_and_another_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, devices, said = directory(tmp_path / "model"), Devices(), list[str]()
    engine = PoolEngine(Original(model), devices, limits=LIMITS)
    host = Host(Place(tmp_path / "own", ("127.0.0.1", 0), "gateway"), engine, devices, said.append)
    some = {0: [Request(str(at), (1, 2, 3), at, 1, 20, 1.0) for at in range(8)]}  # for two lines

    def wait(names: set[str]) -> None:
        end = time.monotonic() + 20
        while {each.name for each in devices.here()} != names:
            assert time.monotonic() < end, said
            time.sleep(0.02)

    try:
        bad = Box(tmp_path / "bad", host, model, "bad", 6.5)
        threads = [bad.come()]
        wait({"bad"})
        good = Box(tmp_path / "good", host, model, "good", 6.5)
        threads.append(good.come())
        wait({"bad", "good"})
        spoiled(monkeypatch, "bad", 0)
        assert run(engine, some)[0] == run(alone(model, limits=LIMITS), some)[0]
        wait({"good"})
        end = time.monotonic() + 20
        while not any("numbers were none" in each for each in said):
            assert time.monotonic() < end, said
            time.sleep(0.02)
        again = bad.come()
        again.join(10)
        assert not again.is_alive()
        assert {each.name for each in devices.here()} == {"good"}
        assert [each for each in said if "numbers were none" in each] == [
            "bad is gone: its numbers were none, so it is not taken again until this gateway is started anew"
        ]
    finally:
        host.close()
    for each in threads:
        each.join(10)
        assert not each.is_alive()
