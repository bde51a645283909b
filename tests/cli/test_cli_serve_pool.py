"""What `archipel serve pool` says of a gateway on this machine."""

import json
import os
from pathlib import Path

import pytest

from archipel.cli.doors import Mendable
from archipel.cli.serve_pool_status import standing
from archipel.serve.pool.paired import STATUS
from archipel.serve.running import Running, Sign


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
