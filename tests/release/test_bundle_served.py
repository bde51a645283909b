"""A bundle is a model directory: it is talked to and served as it lies there, and the server names its weights."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from archipel import source_environment
from archipel.release.index import read_index
from releases import files

pytestmark = pytest.mark.slow
LIMIT_S = 120


def call(home: Path, *said: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "archipel.cli.archipel", *map(str, said)]
    environment = {"PATH": os.defpath, "HOME": str(home), **source_environment()}
    return subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_a_bundle_is_talked_to_and_served_as_it_is_and_its_weights_are_named(
    site: Path, tmp_path: Path
) -> None:
    bundle = site / "bundle"
    before, index = files(bundle), read_index((bundle / "release.json").read_bytes())
    told = call(tmp_path, "chat", bundle, "--prompt", "ba=")
    assert told.returncode == 0, told.stderr
    begun = call(tmp_path, "serve", bundle, "--port", 0, "--threads", 1, "--detach")
    assert begun.returncode == 0, begun.stderr
    found = re.search(r"at (http://\S+), detached", begun.stdout)
    assert found is not None
    try:
        (row,) = httpx.get(f"{found[1]}/api/tags", trust_env=False).json()["models"]
        assert f"sha256:{row['digest']}" == index.weights
        body = {"model": "bundle", "prompt": "ba=", "max_tokens": 4, "temperature": 0}
        answer = httpx.post(f"{found[1]}/v1/completions", json=body, trust_env=False)
        assert answer.status_code == 200, answer.text
        text = answer.json()["choices"][0]["text"]
        assert text
        assert told.stdout.strip().startswith(text)
    finally:
        call(tmp_path, "serve", "stop", "--all")
    assert files(bundle) == before, "serving leaves it as it was signed"
