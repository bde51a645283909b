"""Signed answers over a real server, asked by several clients of several dialects at once, in processes as people start them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from archipel import source_environment
from serve.served_models import tiny_model
from serve.signed_world import again_by_anybody

pytestmark = pytest.mark.slow
LIMIT_S = 120
LONG = "a text of many tokens, so that it is read in pieces " * 6


@contextmanager
def server(folder: Path, model: Path, *more: str) -> Iterator[str]:
    words = [
        sys.executable,
        "-m",
        "archipel.cli.archipel",
        "serve",
        str(model),
        "--port",
        "0",
        "--sign",
    ]
    environment = {"PATH": os.defpath, "HOME": str(folder), **source_environment()}
    with subprocess.Popen(
        [*words, "--threads", "1", *more], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        found = re.search(r"at (http://\S+) .*signed by (did:key:\S+)\)", process.stdout.readline())
        assert found is not None
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
    key = folder / ".archipel" / "serve" / "answers.key"
    assert key.stat().st_mode & 0o777 == 0o600
    kept = [path for path in folder.rglob("*") if path.is_file() and path != key]
    assert not any(LONG[:20] in path.read_text(errors="replace") for path in kept if model not in path.parents)  # fmt: skip


def by_openai(address: str, number: int) -> str:
    import openai

    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        asked: dict[str, Any] = {"model": "tiny", "max_tokens": 5 + number % 7, "n": 1 + number % 3}
        turns: Any = [{"role": "user", "content": LONG[: 30 + 90 * (number % 4)]}]
        got = client.chat.completions.with_raw_response.create(messages=turns, **asked)
        assert got.parse().system_fingerprint
        return str(got.headers["archipel-answer"])


def by_openai_streamed(address: str, number: int) -> str:
    import openai

    body: dict[str, Any] = {"model": "tiny", "stream": True, "seed": number, "max_tokens": 20}
    turns: Any = [{"role": "user", "content": f"{number}"}]
    with (
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
        client.chat.completions.with_streaming_response.create(messages=turns, **body) as got,
    ):
        for _ in got.iter_bytes():
            pass
        return str(got.headers["archipel-answer"])


def by_anthropic(address: str, number: int) -> str:
    import anthropic  # a second and more, which every test process would pay

    with anthropic.Anthropic(base_url=address, api_key="none", max_retries=0) as client:
        got = client.messages.with_raw_response.create(
            model="tiny", messages=[{"role": "user", "content": f"{number}" * 40}], max_tokens=9
        )
        return str(got.headers["archipel-answer"])


WAYS = (by_openai, by_openai_streamed, by_anthropic)


@pytest.mark.parametrize("more", [(), ("--exact", "w7a8")], ids=["float", "exact"])
def test_answers_to_many_clients_at_once_are_recomputed_by_somebody_else(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    model = tiny_model(tmp_path / "tiny")
    with server(tmp_path, model, *more) as address:
        with ThreadPoolExecutor(6) as clients:
            names = list(clients.map(lambda n: WAYS[n % 3](address, n), range(18)))
        files = [
            httpx.get(f"{address}/v1/answers/{each}", trust_env=False).content for each in names
        ]
    assert len(set(names)) == 18
    for data in files:
        answer, found = again_by_anybody(data, model)
        assert answer.is_exact == bool(more)
        assert found.is_promised
        assert not found.differences
