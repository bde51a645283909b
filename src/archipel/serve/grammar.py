"""Documents that an answer must be: any JSON object, or one of a schema, by the library llguidance.

Parts: `Grammars` (of one tokenizer). The library compiles a schema and says token by token what may come
next; white space between a document's parts is left out, which otherwise weak models write until their limit. A
schema it does not know is refused with its own words.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archipel.extras import needs
from archipel.model.pieces import NoPieces
from archipel.model.tokenizer import Tokenizer
from archipel.serve.question import BadQuestion, Form, NotOffered
from archipel.serve.steering import Mask

COMPILED_AS: Any = {"whitespace_flexible": False}


class Grammars:
    """Of one tokenizer; what the library makes of its vocabulary is made once, when it is first needed."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int) -> None:
        self._tokenizer, self._size = tokenizer, vocabulary
        self._lock = threading.Lock()
        self._library: Any = None

    def masks(self, form: Form) -> Callable[[], Mask]:
        """A maker of masks, one for each answer.

        Raises:
            NotOffered: the library is not installed, or does not fit this tokenizer. BadQuestion: it does not know the
                schema.
        """
        try:
            import llguidance
        except ImportError:
            raise NotOffered(needs("response_format", "serve"), "response_format") from None
        library = self._made()
        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(
                form.schema, overrides=COMPILED_AS
            )
        except ValueError as error:
            raise BadQuestion(f"the schema is not understood: {error}", "response_format") from None
        first = llguidance.LLMatcher(library, grammar, log_level=0)
        if first.is_error():
            raise BadQuestion(
                f"the schema is not understood: {first.get_error()}"[:600], "response_format"
            )
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

    @classmethod
    def fresh(cls, first: Any, size: int) -> "_Mask":
        """For another answer by the same grammar."""
        return cls(first.deep_copy(), size)

    def allowed(self, logits_V: Tensor) -> Tensor | None:
        """See `Mask.allowed`."""
        if self._matcher.is_error():
            return None
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        flags = np.unpackbits(bits, bitorder="little")[: len(logits_V)]
        found = torch.zeros(len(logits_V), dtype=torch.bool)
        found[: len(flags)] = torch.from_numpy(flags.astype(np.bool_))
        return found.to(logits_V.device) if found.any() else None

    def took(self, token: int) -> None:
        """See `Mask.took`."""
        self._matcher.consume_token(token)
