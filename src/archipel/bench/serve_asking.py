"""Clients that ask all at once, and how long they wait.

Parts: `Timing`, `ask`, `crowd`. The clock is the client's: from before it connects, until a token's text is here.
"""

import http.client
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from archipel.bench.serve_sides import NAME

ANSWER_S = 600.0


class NoAnswer(RuntimeError):
    """A server refused, broke off, or said fewer tokens than asked."""


@dataclass(frozen=True)
class Timing:
    """One question's, in seconds of one clock."""

    asked: float
    first: float
    """When the first text came; of an answer without any, when it ended."""
    ended: float
    tokens: int


def ask(address: str, prompt: Sequence[int], tokens: int) -> Timing:
    """One question, streamed.

    Raises:
        NoAnswer: see there.
    """
    body = {
        "model": NAME, "prompt": list(prompt), "max_tokens": tokens, "temperature": 0, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    asked = time.perf_counter()
    line = http.client.HTTPConnection(urlsplit(address).netloc, timeout=ANSWER_S)
    try:
        said = json.dumps(body)
        line.request("POST", "/v1/completions", said, {"content-type": "application/json"})
        response = line.getresponse()
        if response.status != 200:
            raise NoAnswer(
                f"status {response.status}: {response.read(500).decode(errors='replace')}"
            )
        first, num = _read(response)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(f"it broke off: {error!r:.300}") from None
    finally:
        line.close()
    if num != tokens:
        raise NoAnswer(f"it said {num} tokens; asked for {tokens}")
    return Timing(asked, first, time.perf_counter(), num)


def _read(response: http.client.HTTPResponse) -> tuple[float, int]:
    """When the first text came, or else the end, and how many tokens were said."""
    first: float | None = None
    num = 0
    for line in response:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if first is None and any(each.get("text") for each in event.get("choices", ())):
            first = time.perf_counter()
        if event.get("usage"):
            num = event["usage"]["completion_tokens"]
    return first or time.perf_counter(), num


def crowd(address: str, prompts: Sequence[Sequence[int]], tokens: int) -> list[Timing]:
    """A client for each prompt, all at once.

    Raises:
        NoAnswer: one of them got none.
    """
    with ThreadPoolExecutor(len(prompts)) as clients:
        return list(clients.map(lambda prompt: ask(address, prompt, tokens), prompts))
