"""Chat templates: messages into the text that a model was tuned on.

A template arrives with the model and is a program, so it runs in Jinja's immutable sandbox, sees
only what it is given, and its output is bounded. The sandbox does not bound time or memory: render
only templates of models that the operator chose.
Laws: the text is what `transformers` renders; no clock of its own: `strftime_now` is defined where the
caller passes `now`, and is not defined, which templates can ask, where the caller passes none.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_TEMPLATE_CHARS = 256 * 1024
MAX_RENDERED_CHARS = 8 * 1024 * 1024
MAX_MESSAGES = 4096
_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names that a message's reasoning goes by; the first one with a value is meant."""


class InvalidChat(ValueError):
    """The template is faulty, or it refuses these messages; the message is the template's own."""


def render(
    messages: Sequence[Mapping[str, Any]],
    template: str,
    *,
    special_tokens: Mapping[str, str],
    add_generation_prompt: bool = True,
    now: datetime | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Render `messages` (each with `role` and `content`) as one prompt.

    special_tokens: what the template may name, such as `bos_token`; `Tokenizer.special_tokens`.
    add_generation_prompt: end with the opening of the assistant's turn.
    now: what a template that asks for the date is told; None: it finds that it cannot ask.
    tools: functions that the model may call, as JSON schemas.

    Raises:
        InvalidChat: malformed template, a template's own refusal, or a bound exceeded.
    """
    if len(messages) > MAX_MESSAGES:
        raise InvalidChat(f"{len(messages)} messages; the limit is {MAX_MESSAGES}")
    if len(template) > MAX_TEMPLATE_CHARS:
        raise InvalidChat(
            f"template of {len(template)} characters; the limit is {MAX_TEMPLATE_CHARS}"
        )
    clock: dict[str, Callable[[str], str]] = {} if now is None else {"strftime_now": now.strftime}
    pieces: list[str] = []
    size = 0
    try:
        for piece in _compiled(template).generate(
            messages=[_with_reasoning(message) for message in messages],
            # Templates ask whether these are none, and take what is not defined for something.
            tools=list(tools) or None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **clock,
            **special_tokens,
        ):
            size += len(piece)
            if size > MAX_RENDERED_CHARS:
                break
            pieces.append(piece)
    except _FAULTS as error:
        if now is None and "strftime_now" in str(error):
            raise InvalidChat("chat template: it asks for the date, and none is given") from None
        raise InvalidChat(f"chat template: {error}") from None
    if size > MAX_RENDERED_CHARS:
        raise InvalidChat(f"rendered chat exceeds {MAX_RENDERED_CHARS} characters")
    return "".join(pieces)


_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    RecursionError,
)
"""What the expressions of a template can raise."""


def _with_reasoning(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with its reasoning under each name that templates read it by."""
    reasoning = next((message[key] for key in _REASONING if message.get(key) is not None), None)
    if reasoning is None:
        return dict(message)
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["namespace"] = _Namespace
    return environment.from_string(template)


class _Generation(Extension):
    """`{% generation %}` marks what the assistant said, for masks of losses; it renders as if not there."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The block's own nodes, in a scope of their own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Namespace(Namespace):
    """Jinja's, without names that begin with an underscore: those lead out of the sandbox."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        values = dict(*args[1:], **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(args[0], values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.TemplateError(f"a namespace has no place for {name!r:.40}")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: the stock filter escapes for HTML, which models were not tuned on."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
