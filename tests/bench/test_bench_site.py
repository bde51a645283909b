"""A site of processes: however the one that made it is ended, none of them is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archipel import source_environment

MAKER = """
import sys, time
from pathlib import Path
from archipel.bench.site import Site
with Site(Path(sys.argv[1]), {}) as site:
    site._start("node", ["node", "join", "http://127.0.0.1:9", "--home", sys.argv[1] + "/n", "--quiet"])
    print(site.pid("node"), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_site_whose_maker_is_ended_leaves_no_process(tmp_path: Path, number: int) -> None:
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={"PATH": os.defpath, **source_environment()},
    )
    assert maker.stdout is not None
    with maker.stdout as said:
        started = int(said.readline())
    maker.send_signal(number)
    assert maker.wait(60) == 128 + number
    deadline = time.monotonic() + 10
    while Path(f"/proc/{started}").exists():
        assert time.monotonic() < deadline, "a process of the site is left"
        time.sleep(0.05)
