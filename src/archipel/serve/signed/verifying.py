"""A signed answer, recomputed by whoever received it: equal to the bit, or where it first differs.

Parts: `Recomputed`, `Difference`, `recompute`. Laws: weights, tokenizer and adapter are those that the answer names, or
nothing is computed; the question goes the way on which it was asked. What is not shown: that anybody asked it, when, or
that the text somebody showed was this one's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import torch

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.quantised.arithmetic import WEIGHTS
from archipel.model.adapter import Adapter, adapter_shapes
from archipel.model.config import DecoderConfig
from archipel.model.tokenizer import Tokenizer
from archipel.records.adapter import TARGETS, AdapterForm
from archipel.records.exact import CONTRACTS, variant_named
from archipel.records.requests import InvalidRequest, Request
from archipel.records.rollouts import Rollout
from archipel.serve.asking import asking_of
from archipel.serve.grammar import Grammars
from archipel.serve.loading import Loaded, Numbers, load
from archipel.serve.origin import Origin
from archipel.serve.question import Refusal
from archipel.serve.signed.document import (
    BadAnswer,
    SignedAnswer,
    SignedChoice,
    bits_of,
    logprob_of,
)
from archipel.serve.signed.request import question_of
from archipel.work.folders import Folder

BESIDE = "beside"
"""The engine's name for an adapter that adds nothing."""
What = Literal["token", "log-probability", "end"]


class OtherModel(ValueError):
    """The directory is not of what answered."""


@dataclass(frozen=True)
class Difference:
    """Where a choice first leaves what is right."""

    choice: int
    position: int
    """In the answer, from 0."""
    what: What
    signed: str
    recomputed: str

    def __str__(self) -> str:
        return (
            f"choice {self.choice}, token {self.position}: {self.what} {self.signed} was signed, {self.recomputed} "
            "comes out"
        )


@dataclass(frozen=True)
class Recomputed:
    """What came out."""

    fingerprint: str
    """Of what computed it here."""
    is_promised: bool
    """Whether an honest answer is equal here: by the exact contract, or on the machine's own fingerprint."""
    num_tokens: int
    num_equal: int
    """Tokens before the first difference of each choice."""
    gap: float
    """Nats: the largest difference of a log-probability among tokens that are the same up to there."""
    differences: tuple[Difference, ...]
    """The first of each choice that has one."""
    texts: tuple[str, ...]
    """What the signed tokens say."""


def recompute(
    answer: SignedAnswer,
    folder: Folder,
    limits: EngineLimits,
    on_progress: Callable[[int], None] | None = None,
) -> Recomputed:
    """Answer it again with the model in `folder`; `on_progress` is told tokens so far.

    Raises:
        OtherModel: it is not the model that the answer names. BadAnswer: this cannot have been asked of it.
        InvalidModel, InvalidTokenizer: the directory cannot be used.
    """
    tokenizer = Tokenizer.from_directory(folder.model)
    loaded = load(folder, _numbers(answer), limits)
    origin = _checked(answer, loaded, folder)
    if answer.beside_adapters and answer.adapter is None:
        loaded.engine.adapt(BESIDE, _nothing(loaded.config))
    terms = _Terms(
        name=answer.model,
        tokenizer=tokenizer,
        grammars=Grammars(tokenizer, loaded.config.vocab_size),
        positions=loaded.engine.longest,
        adapter=loaded.adapter,
        takes_bends=not answer.is_exact,
    )
    try:
        asking = asking_of(terms, question_of(answer), datetime.now(UTC))
    except Refusal as error:
        raise BadAnswer(f"this cannot have been asked of {folder.model}: {error}") from None
    rollouts = _generated(loaded.engine, asking.request, on_progress)
    pairs = list(zip(answer.choices, rollouts, strict=True))
    found = [_difference(n, one, other) for n, (one, other) in enumerate(pairs)]
    ends = [
        len(one.tokens) if each is None else each.position
        for each, (one, _) in zip(found, pairs, strict=True)
    ]
    return Recomputed(
        fingerprint=origin.fingerprint,
        is_promised=answer.is_exact or origin.fingerprint == answer.fingerprint,
        num_tokens=sum(len(each.tokens) for each in answer.choices),
        num_equal=sum(ends),
        gap=max(_gap(one, other) for one, other in pairs),
        differences=tuple(each for each in found if each is not None),
        texts=tuple(tokenizer.decode(each.tokens) for each in answer.choices),
    )


@dataclass(frozen=True)
class _Terms:
    """See `asking.Terms`."""

    name: str
    tokenizer: Tokenizer
    grammars: Grammars
    positions: int
    adapter: str | None
    takes_bends: bool
    usual_tokens: int = 1
    is_deterministic: bool = True


def _numbers(answer: SignedAnswer) -> Numbers:
    """As whoever answered computed. Raises OtherModel: this software does not."""
    held = answer.contract.removeprefix("archipel-")
    if held in WEIGHTS:
        return Numbers(held, is_named=True)
    variant = variant_named(answer.contract)
    if variant is None:
        known = ", ".join((*CONTRACTS.values(), *(f"archipel-{each}" for each in WEIGHTS)))
        raise OtherModel(
            f"{answer.contract} is no contract of this software, which has {known}; update it"
        )
    return Numbers(exact=variant, is_named=True)


def _checked(answer: SignedAnswer, loaded: Loaded, folder: Folder) -> Origin:
    """What was loaded. Raises OtherModel."""
    origin = loaded.origin
    if origin is None:
        raise OtherModel(f"{folder.model} has no digest")
    pairs = (
        ("weights", answer.weights, origin.weights, folder.model),
        ("tokenizer", answer.tokenizer, origin.tokenizer, folder.model),
        ("adapter", answer.adapter, origin.adapter, folder.adapter),
    )
    for what, signed, here, where in pairs:
        if signed == here:
            continue
        if here is None:
            raise OtherModel(
                f"it was answered with the adapter {signed}; name its directory with --adapter"
            )
        if signed is None:
            raise OtherModel(
                f"it was answered without an adapter, and {where} is one; leave it out"
            )
        raise OtherModel(
            f"the {what} in {where} {'have' if what == 'weights' else 'has'} the digest {here}; what answered has "
            f"{signed}: name that model's directory"
        )
    if answer.beside_adapters:
        return replace(origin, is_beside=True)
    return origin


def _nothing(config: DecoderConfig) -> Adapter:
    """An adapter of zeros over the least that has one: rows without an adapter are rounded as beside any other."""
    form = AdapterForm(rank=1, alpha_micro=1_000_000, targets=(TARGETS[3],), rank_stabilised=False)
    shapes = adapter_shapes(config, form)
    return Adapter(form, {name: torch.zeros(shape).bfloat16() for name, shape in shapes.items()})


def _generated(
    engine: LocalEngine, request: Request, on_progress: Callable[[int], None] | None
) -> tuple[Rollout, ...]:
    try:
        return engine.generate([request], on_progress)[0]
    except InvalidRequest as error:
        raise BadAnswer(f"this cannot have been asked of this model: {error}") from None


def _difference(choice: int, signed: SignedChoice, right: Rollout) -> Difference | None:
    bits = tuple(map(bits_of, right.logprobs))
    for at, (token, said) in enumerate(zip(signed.tokens, signed.logprobs, strict=True)):
        if at == len(right.tokens):
            return Difference(choice, at, "end", f"token {token}", "the end")
        if token != right.tokens[at]:
            return Difference(choice, at, "token", str(token), str(right.tokens[at]))
        if said != bits[at]:
            return Difference(choice, at, "log-probability", _number(said), _number(bits[at]))
    last = len(signed.tokens)
    if last < len(right.tokens):
        return Difference(choice, last, "end", "the end", f"token {right.tokens[last]}")
    if signed.finished != right.finished:
        told = ("by the limit", "by itself")
        return Difference(choice, last - 1, "end", told[signed.finished], told[right.finished])
    return None


def _gap(signed: SignedChoice, right: Rollout) -> float:
    gap = 0.0
    pairs = zip(signed.tokens, signed.logprobs, right.tokens, right.logprobs, strict=False)
    for token, said, other, logprob in pairs:
        if token != other:
            break
        gap = max(gap, abs(logprob_of(said) - logprob))
    return gap


def _number(bits: int) -> str:
    return f"{logprob_of(bits)!r} (0x{bits:08x})"
