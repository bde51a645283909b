"""Texts as vectors: OpenAI's embeddings, and Ollama's embed and (older) embeddings.

OpenAI's client asks for base64 of little-endian fp32 unless told otherwise. Vectors have length 1, but Ollama's older
ones.
"""

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from archipel.serve.dialects.dialect import Body, in_pieces, read
from archipel.serve.question import BadQuestion
from archipel.serve.texts import Embedded, Texts

MAX_IDS = 1_000_000
_Ids = Annotated[list[StrictInt], Field(max_length=MAX_IDS)]


class OpenAIBody(Body):
    """POST /v1/embeddings."""

    model: StrictStr
    input: StrictStr | list[StrictStr] | _Ids | list[_Ids]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: StrictInt | None = None


class OllamaBody(Body):
    """POST /api/embed."""

    model: StrictStr
    input: StrictStr | list[StrictStr]
    truncate: StrictBool = True
    dimensions: StrictInt | None = None


class OldOllamaBody(Body):
    """POST /api/embeddings."""

    model: StrictStr
    prompt: StrictStr


def openai_asked(data: bytes) -> tuple[Texts, OpenAIBody]:
    """Raises Refusal."""
    body = read(OpenAIBody, data)
    held: Sequence[Any] = [body.input] if isinstance(body.input, str) else body.input
    if held and isinstance(held[0], int):
        held = [held]
    texts = tuple(each if isinstance(each, str) else tuple(each) for each in held)
    if () in texts or "" in texts:
        raise BadQuestion("a text is empty; expected one character or token at least", "input")
    return Texts(body.model, texts, body.dimensions), body


def ollama_asked(data: bytes) -> Texts:
    """Raises Refusal."""
    body = read(OllamaBody, data)
    held = [body.input] if isinstance(body.input, str) else body.input
    return Texts(body.model, tuple(held), body.dimensions, is_cut=body.truncate)


def old_ollama_asked(data: bytes) -> Texts:
    """Raises Refusal."""
    body = read(OldOllamaBody, data)
    return Texts(body.model, (body.prompt,), is_cut=True)


def openai_told(body: OpenAIBody, found: Sequence[Embedded]) -> Iterable[bytes]:
    """The answer, in pieces. Raises BadQuestion: more dimensions than there are."""
    is_packed = body.encoding_format == "base64"
    vectors = _units(found, body.dimensions)
    rows = (
        {"object": "embedding", "index": index, "embedding": _packed(each) if is_packed else each}
        for index, each in enumerate(vectors)
    )
    used = sum(each.num_tokens for each in found)
    usage = {"prompt_tokens": used, "total_tokens": used}
    whole = {"object": "list", "data": rows, "model": body.model, "usage": usage}
    return in_pieces(whole, "data")


def ollama_told(texts: Texts, found: Sequence[Embedded], took_ns: int) -> Iterable[bytes]:
    """The answer, in pieces. Raises BadQuestion: more dimensions than there are."""
    whole = {
        "model": texts.model,
        "embeddings": _units(found, texts.dimensions),
        "total_duration": took_ns,
        "load_duration": 0,
        "prompt_eval_count": sum(each.num_tokens for each in found),
    }
    return in_pieces(whole, "embeddings")


def old_ollama_told(found: Sequence[Embedded]) -> Mapping[str, Any]:
    """The answer."""
    return {"embedding": found[0].vector}


def _units(found: Sequence[Embedded], dimensions: int | None) -> Iterable[tuple[float, ...]]:
    """Each made when it is its turn. Raises BadQuestion: at once, if they have fewer dimensions."""
    found[0].unit(dimensions)
    return (each.unit(dimensions) for each in found)


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
