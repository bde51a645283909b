"""A model that judges: questions to an OpenAI address, answers kept so that the same question costs once.

Laws: every request has a deadline and so has their whole; a judge that is away makes grading unavailable, it never
makes a reward of 0; nothing of its answers but text is used.
"""

import contextlib
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from archipel.training.environments.judgement import MAX_SAID_CHARS
from archipel.training.grading_pipe import GraderUnavailable

AT_ONCE = 8
"""Questions that wait for an answer at the same time."""
REQUEST_LIMIT_S = 60.0
ATTEMPTS = 5
FIRST_PAUSE_S = 0.5
MAX_TOKENS = 256
MAX_REPLY_BYTES = 1024 * 1024
BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses worth another attempt."""
OURS = frozenset({400, 413, 414, 422})
"""Statuses that speak of the question alone."""


class CannotJudge(ValueError):
    """The judge refuses this one question."""


class BadReply(ValueError):
    """What came is no chat completion."""


class Judge:
    """One address and model. Safe to use from several threads."""

    def __init__(self, url: str, model: str, key: str | None, cache: Path | None) -> None:
        """url: of the interface, to which `/chat/completions` is added. cache: a file; None remembers nothing lasting."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(
            headers=headers, timeout=REQUEST_LIMIT_S, follow_redirects=False
        )
        self._url, self._model = url.rstrip("/") + "/chat/completions", model
        self._kept = sqlite3.connect(cache or ":memory:", check_same_thread=False, timeout=30)
        self._lock = threading.Lock()
        with self._lock, self._kept:
            self._kept.execute(
                "CREATE TABLE IF NOT EXISTS said (asked TEXT PRIMARY KEY, reply TEXT)"
            )

    def close(self) -> None:
        """Let go of connections and file."""
        self._client.close()
        self._kept.close()

    def answers(self, questions: Sequence[str], limit_s: float) -> list[str | None]:
        """One reply each, in order; None where the judge refuses that question.

        Raises:
            GraderUnavailable: it is away, refuses us, or time is up; what it said so far is kept.
        """
        ends_s = time.monotonic() + limit_s
        distinct = list(dict.fromkeys(questions))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = dict(
                zip(
                    distinct,
                    pool.map(lambda each: self._answer(each, ends_s), distinct),
                    strict=True,
                )
            )
        return [found[each] for each in questions]

    def _answer(self, question: str, ends_s: float) -> str | None:
        asked = hashlib.sha256(json.dumps([self._url, self._model, question]).encode()).hexdigest()
        with self._lock:
            row = self._kept.execute("SELECT reply FROM said WHERE asked = ?", (asked,)).fetchone()
        if row is not None:
            return str(row[0])
        try:
            reply = self._asked(question, ends_s)
        except CannotJudge:
            return None
        with self._lock, self._kept:
            self._kept.execute("INSERT OR REPLACE INTO said VALUES (?, ?)", (asked, reply))
        return reply

    def _asked(self, question: str, ends_s: float) -> str:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
        }
        said, pause_s = "", FIRST_PAUSE_S
        for _ in range(ATTEMPTS):
            left_s = ends_s - time.monotonic()
            if left_s <= 0:
                break
            try:
                return self._once(body, min(left_s, REQUEST_LIMIT_S))
            except httpx.HTTPError as error:
                said = f"{type(error).__name__}: {error}"
            time.sleep(max(0.0, min(pause_s, ends_s - time.monotonic())))
            pause_s *= 2
        raise GraderUnavailable(
            f"the judge at {self._url} gives no answer ({said or 'the time of the batch is up':.200}); "
            "start it, or change environment.parameters.judge_url"
        )

    def _once(self, body: dict[str, object], limit_s: float) -> str:
        """Raises httpx.HTTPError: worth another attempt."""
        data = bytearray()
        with self._client.stream("POST", self._url, json=body, timeout=limit_s) as response:
            for piece in response.iter_bytes():
                data += piece
                if len(data) > MAX_REPLY_BYTES:
                    break
        if response.status_code in BUSY:
            raise httpx.HTTPError(f"status {response.status_code}")
        if response.status_code in OURS:
            raise CannotJudge
        if response.status_code != httpx.codes.OK:
            raise GraderUnavailable(
                f"the judge at {self._url} answered {response.status_code} {bytes(data[:200])!r}; "
                "check its address, model and key"
            )
        try:
            return chat_content(bytes(data))
        except BadReply as error:
            raise httpx.HTTPError(str(error)) from None


def chat_content(data: bytes) -> str:
    """The text of a chat completion. Raises BadReply."""
    with contextlib.suppress(ValueError, RecursionError, LookupError, TypeError):
        content = json.loads(data)["choices"][0]["message"]["content"]
        if isinstance(content, str):
            return content[:MAX_SAID_CHARS]
    raise BadReply(f"no chat completion: {data[:80]!r}")
