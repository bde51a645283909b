"""What `archipel serve pool` says of a gateway on this machine."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from archipel import source_environment
from archipel.cli.doors import Mendable
from archipel.cli.serve_pool_status import standing
from archipel.serve.pool.paired import STATUS
from archipel.serve.running import Running, Sign
from serve.served_models import tiny_model


def test_a_gateway_that_was_killed_stands_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    for name in ("pool", "serve/running"):
        (tmp_path / name).mkdir(parents=True)
    said = {"name": "big", "pid": os.getpid(), "address": "127.0.0.1:8460"}
    (tmp_path / "pool" / STATUS).write_text(json.dumps(said))
    with pytest.raises(Mendable, match="no gateway of a pool runs here"):
        standing()
    running = Running(
        name="big", address="http://127.0.0.1:8450", port=8450, pid=os.getpid(), since=0
    )
    sign = Sign.put_up(tmp_path / "serve" / "running", running)
    try:
        assert standing() == said
    finally:
        sign.take_down()
    with pytest.raises(Mendable, match="no gateway"):
        standing()


@pytest.mark.slow
def test_a_gateway_in_the_background_is_joined_asked_and_stopped_and_its_log_has_no_code(
    tmp_path: Path,
) -> None:
    tiny_model(tmp_path / "tiny")
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), **source_environment()}

    def words(*said: object) -> list[str]:
        return [sys.executable, "-m", "archipel.cli.archipel", "serve", *map(str, said)]

    def call(*said: object) -> str:
        return subprocess.run(
            words(*said), env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=True
        ).stdout  # fmt: skip

    begun = call("pool", "tiny", "--port", 0, "--pool-port", 0, "--threads", 1, "--detach")
    other = None
    try:
        found = re.search(r"at (http://\S+), detached \(process (\d+), log (\S+)\)", begun)
        joins = re.search(r"archipel serve pool join (127.0.0.1:\d+) ([A-Z2-7-]{39})", begun)
        assert found is not None
        assert joins is not None
        (row,) = json.loads(call("list", "--json"))
        assert (row["name"], row["address"], row["pid"]) == ("tiny", found[1], int(found[2]))
        other = subprocess.Popen(
            words("pool", "join", *joins.groups(), "--threads", 1, "--label", "other"),
            env={**environment, "ARCHIPEL_HOME": str(tmp_path / "other")},
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + 60
        while "other" not in _names(call):
            assert time.monotonic() < end
            time.sleep(0.5)
        body = {"model": "tiny", "prompt": "ab", "max_tokens": 3}
        asked = httpx.post(f"{found[1]}/v1/completions", json=body, trust_env=False, timeout=60)
        assert asked.status_code == 200
        told = httpx.post(
            f"{found[1]}/v1/embeddings",
            json={"model": "tiny", "input": "ab"},
            trust_env=False,
            timeout=60,
        )
        assert told.status_code == 200, told.text
        assert "tiny at" in call("stop", "tiny")
        log = Path(found[3]).read_text()
        assert "other joined" in log
        assert not re.search(r"[A-Z2-7]{4}-[A-Z2-7]{4}", log)
    finally:
        if other is not None:
            other.kill()
            other.wait(20)
        subprocess.run(words("stop", "--all"), env=environment, timeout=120, check=False)


def _names(call: Callable[..., str]) -> list[str]:
    """Of the devices that are here."""
    found: dict[str, Any] = json.loads(call("pool", "status", "--json"))
    return [each["name"] for each in found["devices"]]
