"""OpenAI's stream of chat completion chunks, read: what another server says, bounded and checked.

Parts: `lines_of` (bytes into lines), `Heard` (lines into what is told). Source: the server-sent events of OpenAI's API reference, `chat.completion.chunk`.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archipel.serve.asked import Told
from archipel.serve.question import Broken, Call, Ended, Said, Why

MAX_LINE_BYTES = 1 << 20
MAX_ANSWER_BYTES = 1 << 26
MAX_CALLS = 128


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Function(_Part):
    name: str | None = None
    arguments: str | None = None


class _CallPart(_Part):
    index: Annotated[int, Field(ge=0, lt=MAX_CALLS)] = 0
    function: _Function | None = None


class _Delta(_Part):
    content: str | None = None
    tool_calls: Annotated[tuple[_CallPart, ...], Field(max_length=MAX_CALLS)] | None = None


class _Choice(_Part):
    index: Annotated[int, Field(ge=0)] = 0
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Usage(_Part):
    prompt_tokens: Annotated[int, Field(ge=0)] = 0
    completion_tokens: Annotated[int, Field(ge=0)] = 0


class _Chunk(_Part):
    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines without their ends.

    Raises:
        Broken: one is longer than may be, or all are together.
    """
    held, total = b"", 0
    async for chunk in chunks:
        total += len(chunk)
        held += chunk
        *whole, held = held.split(b"\n")
        if len(held) > MAX_LINE_BYTES or total > MAX_ANSWER_BYTES:
            raise Broken(
                f"the large model's server sends a line over {MAX_LINE_BYTES} or an answer over {MAX_ANSWER_BYTES} bytes"
            )
        for line in whole:
            yield line.rstrip(b"\r")
    if held:
        yield held


class Heard:
    """An answer of so many choices, as far as it has come."""

    def __init__(self, choices: int) -> None:
        self._calls: list[dict[int, list[str]]] = [{} for _ in range(choices)]
        self._ended: list[bool] = [False] * choices
        self.num_prompt_tokens = 0
        self.num_tokens = 0

    def line(self, line: bytes) -> Iterator[Told]:
        """What one line tells; comments and empty ones nothing.

        Raises:
            Broken: it is no chunk.
        """
        if not line.startswith(b"data:") or (data := line[5:].strip()) == b"[DONE]":
            return
        try:
            chunk = _Chunk.model_validate_json(data)
        except (ValidationError, RecursionError):
            raise Broken(
                f"the large model's server broke off: {data[:120].decode('utf-8', 'replace')}"
            ) from None
        if chunk.usage is not None:
            self.num_prompt_tokens = chunk.usage.prompt_tokens
            self.num_tokens = chunk.usage.completion_tokens
        for choice in chunk.choices:
            if choice.index >= len(self._calls) or self._ended[choice.index]:
                raise Broken("the large model's server answers more than it was asked")
            yield from self._choice(choice)

    def end(self) -> Iterator[Told]:
        """Once its stream is over.

        Raises:
            Broken: a choice did not end.
        """
        missing = [n for n in range(len(self._ended)) if not self._ended[n]]
        if missing:
            raise Broken("the large model's server ended before its answer did; ask again")
        yield from ()

    def _choice(self, choice: _Choice) -> Iterator[Told]:
        for part in choice.delta.tool_calls or ():
            call = self._calls[choice.index].setdefault(part.index, ["", ""])
            if part.function is not None:
                call[0] += part.function.name or ""
                call[1] += part.function.arguments or ""
        if choice.delta.content:
            yield Said(choice.index, choice.delta.content)
        if choice.finish_reason is not None:
            self._ended[choice.index] = True
            calls = tuple(Call(*each) for each in self._calls[choice.index].values())
            why: Why = "length" if choice.finish_reason == "length" else "stop"
            yield Ended(choice.index, "tool_calls" if calls else why, self.num_tokens, calls)
