"""A signed answer: the form in which somebody says what a model answered, so that anybody can recompute it.

Parts: `SignedAnswer` with its request and choices; `sealed` and `read_answer`, to and from the bytes of a file; `bits_of`
and `logprob_of`. Laws: the payload is canonical JSON in a DSSE envelope, so one answer has one spelling;
log-probabilities are the bits of their f32; nothing that changes a sampled bit is left out.
"""

import struct
from typing import Annotated, Literal, NewType

from pydantic import AfterValidator, Field, ValidationError

from archipel.identity import Envelope, Identity, IdentityError, sign, verify
from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical
from archipel.records.fields import Closed, Digest, LeftOut, Sparing, TokenId
from archipel.serve.question import MAX_BIASES, MAX_CHOICES, MAX_SCHEMA_CHARS, MAX_STOPS

ANSWER_TYPE = "application/vnd.archipel.answer.v1+json"
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Of the payload."""
MAX_FILE_BYTES = MAX_ANSWER_BYTES * 3 // 2
MAX_TOKENS = 262_144
"""Of prompt and all choices together."""
MAX_CHARS = 1_048_576
"""Of a stop string, or of all tools."""
MAX_U64 = 2**64
LAST_MS = 253_402_300_799_000
"""The end of the year 9999."""


class BadAnswer(ValueError):
    """A file that holds no signed answer, or one that was changed after it was signed."""


class NotSignable(ValueError):
    """An answer that has no such form; the message says why."""


def _is_number(text: str) -> str:
    if repr(float(text)) != text:
        raise ValueError(
            f"{text!r:.40} is not how this number is written; expected {float(text)!r}"
        )
    return text


def _is_u64(text: str) -> str:
    if not int(text) < MAX_U64:
        raise ValueError("more than 64 bits")
    return text


Number = Annotated[
    str,
    Field(pattern=r"^-?[0-9]{1,20}(\.[0-9]{1,20})?(e-?[0-9]{1,3})?$"),
    AfterValidator(_is_number),
]
"""A float, in the shortest decimals that say it: canonical JSON has no floats."""
Seed = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,19})$"), AfterValidator(_is_u64)]
Bits = Annotated[int, Field(ge=0, lt=2**32)]
"""Of an f32 (IEEE 754), as an unsigned integer."""
Tokens = Annotated[tuple[TokenId, ...], Field(min_length=1, max_length=MAX_TOKENS)]
Text = Annotated[str, Field(max_length=MAX_CHARS)]


class SignedBends(Sparing):
    """What was added to logits (`serve.question.Bends`)."""

    biases: Annotated[
        dict[Annotated[str, Field(pattern=r"^[0-9]{1,10}$")], Number] | None,
        Field(max_length=MAX_BIASES),
        LeftOut,
    ] = None
    presence: Number
    frequency: Number
    repeat: Number
    recent: Annotated[int, Field(ge=-1, lt=2**31)]


class SignedCalling(Closed):
    """Tools that were offered, and how they might be called (`serve.question.Calling`)."""

    tools: Text
    """JSON, as text."""
    is_forced: bool
    name: str | None
    is_single: bool
    is_several: bool


class SignedRequest(Sparing):
    """All that was asked that changes what is sampled."""

    prompt: Tokens
    seed: Seed
    choices: Annotated[int, Field(ge=1, le=MAX_CHOICES)]
    max_new_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    temperature: Number
    top_k: Annotated[int, Field(ge=0, lt=2**31)]
    top_p: Number
    min_p: Number
    stop: Annotated[tuple[Text, ...], Field(max_length=MAX_STOPS)] = ()
    bends: Annotated[SignedBends | None, LeftOut] = None
    schema_text: Annotated[str | None, Field(max_length=MAX_SCHEMA_CHARS), LeftOut] = None
    """JSON schema of a document that the answer was held to."""
    calling: Annotated[SignedCalling | None, LeftOut] = None


class SignedChoice(Closed):
    """One of the answers."""

    tokens: Tokens
    logprobs: Annotated[tuple[Bits, ...], Field(min_length=1, max_length=MAX_TOKENS)]
    finished: bool
    """Ended by itself or a stop string, not by its limit."""


class SignedAnswer(Sparing):
    """What one model answered to one request."""

    format: Literal["archipel-answer-1"]
    model: Annotated[str, Field(max_length=256)]
    """What it was called where it was asked."""
    at_ms: Annotated[int, Field(ge=0, le=LAST_MS)]
    """When, by the clock of whoever signs."""
    contract: Annotated[
        str,
        Field(pattern=r"^(exact-[0-9]{1,4}-[a-z0-9]{1,16}-[0-9a-f]{16}|archipel-[a-z0-9]{1,16})$"),
    ]
    fingerprint: Annotated[str, Field(max_length=512)]
    weights: Digest
    tokenizer: Digest
    adapter: Annotated[Digest | None, LeftOut] = None
    beside_adapters: Annotated[Literal[True] | None, LeftOut] = None
    threads: Annotated[int | None, Field(ge=1, le=4096), LeftOut] = None
    """Of the tensor library; by the exact contract none is named."""
    request: SignedRequest
    choices: Annotated[tuple[SignedChoice, ...], Field(min_length=1, max_length=MAX_CHOICES)]

    @property
    def is_exact(self) -> bool:
        """Whether any machine gives the same bits."""
        return self.contract.startswith("exact-")


Signer = NewType("Signer", str)
"""`did:key` of whoever signed."""


def sealed(answer: SignedAnswer, identity: Identity) -> bytes:
    """The file.

    Raises:
        NotSignable: it is too long, or says what has no canonical form.
    """
    try:
        payload = canonical_json(answer.model_dump(mode="json"))
        return sign(identity, payload, ANSWER_TYPE, MAX_ANSWER_BYTES).to_json()
    except (NotCanonical, IdentityError) as error:
        raise NotSignable(str(error)) from None


def read_answer(data: bytes) -> tuple[SignedAnswer, Signer]:
    """A file's answer and who signed it, its signature verified.

    Raises:
        BadAnswer: it is none, or was changed.
    """
    try:
        envelope = Envelope.from_json(data.strip(), MAX_ANSWER_BYTES)
        signer = Signer(verify(envelope, ANSWER_TYPE))
        parse_canonical(envelope.payload)
        answer = SignedAnswer.model_validate_json(envelope.payload)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "answer"
        raise BadAnswer(f"no signed answer: {where}: {fault['msg']}"[:400]) from None
    except (IdentityError, NotCanonical) as error:
        raise BadAnswer(f"no signed answer: {error}"[:400]) from None
    if unfit := _fault(answer):
        raise BadAnswer(f"no signed answer: {unfit}")
    return answer, signer


def _fault(answer: SignedAnswer) -> str:
    """What does not fit together in it, or nothing."""
    request, choices = answer.request, answer.choices
    if len(choices) != request.choices:
        return f"{len(choices)} choices, and {request.choices} were asked for"
    if any(len(each.tokens) != len(each.logprobs) for each in choices):
        return "a choice has another number of log-probabilities than of tokens"
    if len(request.prompt) + sum(len(each.tokens) for each in choices) > MAX_TOKENS:
        return f"more than {MAX_TOKENS} tokens in all"
    return ""


def bits_of(logprob: float) -> int:
    """Of an f32."""
    bits: int = struct.unpack("<I", struct.pack("<f", logprob))[0]
    return bits


def logprob_of(bits: int) -> float:
    """Nats."""
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value
