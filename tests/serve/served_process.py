"""A tiny chat model that is served by a process of its own, as people start it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from archipel import source_environment
from serve.served_models import tiny_model

END_S = 30


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("clients")
    words = [
        sys.executable,
        "-m",
        "archipel.cli.archipel",
        "serve",
        str(tiny_model(folder / "tiny")),
    ]
    environment = {"PATH": os.defpath, "HOME": str(folder), **source_environment()}
    with subprocess.Popen(
        [*words, "--port", "0", "--threads", "1"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        found = re.search(r"at (http://\S+) ", process.stdout.readline())
        assert found is not None
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0
