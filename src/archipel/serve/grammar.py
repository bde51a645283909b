"""Documents that an answer must be: any JSON object, one of a schema, or a call of a tool, by the library llguidance.

Parts: `Grammars` (of one tokenizer). The library compiles a schema and says token by token what may come
next; white space between a document's parts is left out, which otherwise weak models write until their limit. A
schema it does not know is refused with its own words.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archipel.extras import needs
from archipel.model.pieces import NoPieces
from archipel.model.tokenizer import Tokenizer
from archipel.model.tool_calls import Format
from archipel.serve.question import ANY_OBJECT, BadQuestion, Calling, DeadEnd, Form, NotOffered
from archipel.serve.steering import Mask

COMPILED_AS: Any = {"whitespace_flexible": False}
MAX_FORCED_CALLS = 8
PATIENCE_S, PATIENCE_EACH_S = 2.0, 0.02
"""Processor time of one answer's masks in all: some, and some more for each token. They are made between the tokens of
everybody else's answers."""
_ADDED = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), 0.0, -np.inf
).astype(np.float32)
"""What each byte of the library's bits adds to eight logits: ten times as quick as a mask of booleans."""
_WRITTEN: Mapping[Format, tuple[str, str, str]] = {
    "hermes": ('<tool_call>\n{"name": ', ', "arguments": ', "}\n</tool_call>"),
    "llama": ('{"name": ', ', "parameters": ', "}"),
}
"""How a call is written: before its name, before its arguments, after them."""


class Grammars:
    """Of one tokenizer; what the library makes of its vocabulary is made once, when it is first needed."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int) -> None:
        self._tokenizer, self._size = tokenizer, vocabulary
        self._lock = threading.Lock()
        self._library: Any = None

    def masks(self, form: Form) -> Callable[[], Mask]:
        """A maker of masks, one for each answer, that is to be this document.

        Raises:
            NotOffered: the library is not installed, or does not fit this tokenizer. BadQuestion: it does not know the
                schema.
        """
        return self._compiled(
            lambda library: library.grammar_from_json_schema(form.schema, overrides=COMPILED_AS),
            "response_format",
        )

    def calls(
        self,
        written: Format,
        tools: Sequence[Mapping[str, Any]],
        calling: Calling,
        form: Form | None,
    ) -> Callable[[], Mask]:
        """The same for an answer that calls tools, or, where no call is forced, is this document.

        Raises:
            NotOffered: see `masks`, or calls of this model have no grammar. BadQuestion: a schema is not understood, or
                no tool has the name.
        """
        if written not in _WRITTEN:
            raise NotOffered(
                "this model's template writes calls in a way that cannot be forced; leave tool_choice at auto",
                "tool_choice",
            )
        text = _grammar_of_calls(written, tools, calling, form)
        return self._compiled(lambda library: library.grammar_from_lark(text), "tools")

    def _compiled(self, made: Callable[[Any], str], param: str) -> Callable[[], Mask]:
        try:
            import llguidance
        except ImportError:
            raise NotOffered(needs(param, "serve"), param) from None
        if not self._tokenizer.stop_ids:
            raise NotOffered(
                "this model has no token that ends an answer, so no document ends; leave it out",
                param,
            )
        library = self._made()
        try:
            grammar = made(llguidance.LLMatcher)
        except ValueError as error:
            raise BadQuestion(f"the schema is not understood: {error}"[:600], param) from None
        first = llguidance.LLMatcher(library, grammar, log_level=0)
        if first.is_error():
            raise BadQuestion(f"the schema is not understood: {first.get_error()}"[:600], param)
        return partial(_Mask.fresh, first, self._size)

    def _made(self) -> Any:
        import llguidance

        with self._lock:
            if self._library is None:
                try:
                    vocabulary = _Vocabulary(self._tokenizer, self._size)
                except NoPieces as error:
                    raise NotOffered(str(error), "response_format") from None
                wrapped = llguidance.TokenizerWrapper(vocabulary)
                self._library = llguidance.LLTokenizer(wrapped, n_vocab=self._size)
            return self._library


def _grammar_of_calls(
    written: Format, tools: Sequence[Mapping[str, Any]], calling: Calling, form: Form | None
) -> str:
    """In the library's own language: each tool's arguments are a document of their own schema."""
    before, between, after = _WRITTEN[written]
    functions = [each["function"] for each in tools]
    wanted = [each for each in functions if calling.name in (None, each["name"])]
    if not wanted:
        raise BadQuestion(
            f"tool_choice names {calling.name!r:.80}, which is no tool", "tool_choice"
        )
    rules, names = [], []
    for index, function in enumerate(wanted):
        head = _literal(before + json.dumps(function["name"]) + between)
        schema = Form.of(function.get("parameters") or ANY_OBJECT, "tools").schema
        names.append(f"call{index}")
        rules += [
            f"call{index}: {head} arguments{index} {_literal(after)}",
            f"arguments{index}: {_document(schema)}",
        ]
    is_several = calling.is_several and calling.name is None and written == "hermes"
    more = f' ("\\n" call){{0,{MAX_FORCED_CALLS - 1}}}' if is_several else ""
    start = f"call{more}"
    if form is not None and not calling.is_forced:
        start += " | form"
        rules.append(f"form: {_document(form.schema)}")
    return "\n".join((f"start: {start}", f"call: {' | '.join(names)}", *rules))


def _document(schema: str) -> str:
    """As a rule of the grammar; how white space is treated is said in the schema itself."""
    head = json.dumps({"x-guidance": COMPILED_AS})[:-1]
    return f"%json {head}" + ("}" if schema == "{}" else f", {schema[1:]}")


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class _Vocabulary:
    """Our tokenizer, as the library asks for one."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        pieces = tokenizer.pieces
        special = frozenset(tokenizer.special_ids)
        names = {index: token.content.encode() for index, token in tokenizer.special_ids.items()}
        self.tokens = [
            names.get(index, pieces[index] if index < len(pieces) else b"") for index in range(size)
        ]
        self.special_token_ids = sorted(index for index in special if index < size)
        self.eos_token_id = tokenizer.stop_ids[0] if tokenizer.stop_ids else tokenizer.eos_id or 0
        self.bos_token_id = tokenizer.bos_id
        self._tokenizer = tokenizer

    def __call__(self, text: bytes | str) -> list[int]:
        """Ids of a text."""
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return self._tokenizer.encode(said, parse_special=False)


class _Mask(Mask):
    """What the library says, as a tensor."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher, self._size = matcher, size
        self._left_s = PATIENCE_S

    @classmethod
    def fresh(cls, first: Any, size: int) -> "_Mask":
        """For another answer by the same grammar."""
        return cls(first.deep_copy(), size)

    def leave(self, logits_V: Tensor) -> bool:
        """See `Mask.leave`."""
        if self._matcher.is_error():
            return False
        began_s = time.thread_time()
        bits = self._matcher.compute_bitmask()
        self._left_s += PATIENCE_EACH_S - (time.thread_time() - began_s)
        if self._left_s < 0:
            raise DeadEnd(
                "the schema takes too long to follow; shorten its patterns and literal texts",
                "response_format",
            )
        if not bits.strip(b"\0"):
            return False
        added = _ADDED.take(np.frombuffer(bits, dtype=np.uint8), axis=0).reshape(-1)
        known = min(len(added), len(logits_V))
        logits_V[known:] = -torch.inf
        logits_V[:known] += torch.from_numpy(added[:known]).to(logits_V.device)
        return True

    def took(self, token: int) -> None:
        """See `Mask.took`."""
        self._matcher.consume_token(token)
