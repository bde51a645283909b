"""What a door does where texts are read and no answer is sampled: each dialect's bodies in, its answers out."""

import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archipel.serve.aside import Aside
from archipel.serve.asked import Asked, Reads
from archipel.serve.dialects import classifying, embeddings
from archipel.serve.dialects.dialect import compact
from archipel.serve.question import NotOffered
from archipel.serve.texts import Embedded, Texts

Told = Iterable[bytes]
"""JSON in pieces, each of which is made when it is sent: a large answer keeps nobody's stream waiting."""


@dataclass(frozen=True)
class Caller:
    """Who asks, and whom."""

    named: Callable[[str], Asked]
    """What answers to a name. Raises UnknownModel."""
    key: str
    now: datetime
    aside: Aside
    """Where bodies are read."""


async def _openai(data: bytes, caller: Caller) -> Told:
    texts, body = await caller.aside.do(caller.key, embeddings.openai_asked, data)
    return embeddings.openai_told(body, await _embedded(texts, caller))


async def _ollama(data: bytes, caller: Caller) -> Told:
    began_ns = time.monotonic_ns()
    texts = await caller.aside.do(caller.key, embeddings.ollama_asked, data)
    found = await _embedded(texts, caller)
    return embeddings.ollama_told(texts, found, time.monotonic_ns() - began_ns)


async def _old_ollama(data: bytes, caller: Caller) -> Told:
    texts = await caller.aside.do(caller.key, embeddings.old_ollama_asked, data)
    return [compact(embeddings.old_ollama_told(await _embedded(texts, caller)))]


async def _classified(data: bytes, caller: Caller) -> Told:
    weighing = await caller.aside.do(caller.key, classifying.asked, data)
    one = caller.named(weighing.question.model)
    weighed = await _reads(one).weigh(weighing, caller.key, caller.now)
    return [compact(classifying.told(weighing, weighed, one.fingerprint))]


READS: Mapping[str, Callable[[bytes, Caller], Coroutine[Any, Any, Told]]] = {
    "/v1/embeddings": _openai,
    "/v1/classify": _classified,
    "/api/embed": _ollama,
    "/api/embeddings": _old_ollama,
}
"""By path."""


async def _embedded(texts: Texts, caller: Caller) -> list[Embedded]:
    """One after the other, so that one request's texts are never all of what the desk has to do."""
    one = _reads(caller.named(texts.model))
    return [await one.embed(each, caller.key, is_cut=texts.is_cut) for each in texts.texts]


def _reads(one: Asked) -> Reads:
    if not isinstance(one, Reads):
        raise NotOffered(f"{one.name} answers, but reads no texts; ask one of its models", "model")
    return one
