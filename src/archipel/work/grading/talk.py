"""The grading process's side of the conversation with whoever started it: JSON lines over standard streams."""

import json
import os
import time
from dataclasses import replace
from typing import IO, Any

from archipel.work.grading.cell import ParentGone, Question

TOGETHER_S = 0.01
"""Each line by itself wakes whoever waits for it."""


class Talk:
    """The conversation with the parent, on private copies of the standard streams."""

    def __init__(self) -> None:
        self._requests: IO[bytes] = os.fdopen(os.dup(0), "rb")
        self._replies = os.dup(1)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)  # an environment that reads or prints must not disturb the conversation
        os.dup2(nowhere, 1)
        os.close(nowhere)
        self._unsaid: list[bytes] = []
        self._unsaid_since_s = 0.0

    @property
    def parent(self) -> int:
        """The descriptor whose other end is the parent's."""
        return self._requests.fileno()

    def say(self, **facts: Any) -> None:
        """One line, after all that was not said yet."""
        self._unsaid.append(json.dumps(facts).encode() + b"\n")
        self.say_all()

    def say_soon(self, **facts: Any) -> None:
        """One line, together with others: at the latest with the first that comes `TOGETHER_S` after it."""
        now_s = time.monotonic()
        if not self._unsaid:
            self._unsaid_since_s = now_s
        self._unsaid.append(json.dumps(facts).encode() + b"\n")
        if now_s - self._unsaid_since_s >= TOGETHER_S:
            self.say_all()

    def say_all(self) -> None:
        """What was to be said soon."""
        data = memoryview(b"".join(self._unsaid))
        self._unsaid.clear()
        while data:
            data = data[os.write(self._replies, data) :]

    def hear(self) -> Any:
        """One line; None when the parent has no more to say."""
        line = self._requests.readline()
        return json.loads(line) if line else None

    def hear_questions(self, count: int) -> list[Question]:
        """As many lines. Raises ParentGone: they do not come."""
        questions = []
        for _ in range(count):
            fields = self.hear()
            if fields is None:
                raise ParentGone
            replies = fields.pop()
            asked = Question(*fields)
            questions.append(asked if replies is None else replace(asked, replies=tuple(replies)))
        return questions
