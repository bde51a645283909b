"""Chat templates: messages into the text that a model was tuned on.

A template arrives with the model and is a program, so it runs in Jinja's immutable sandbox, sees
only what it is given, and its output is bounded. The sandbox does not bound time or memory: render
only templates of models that the operator chose.
Law: no clock of its own; a template that asks for the date gets the `now` that the caller passes.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEMPLATE_CHARS = 256 * 1024
MAX_RENDERED_CHARS = 8 * 1024 * 1024
MAX_MESSAGES = 4096


class InvalidChat(ValueError):
    """The template is faulty, or it refuses these messages; the message is the template's own."""


def render(
    messages: Sequence[Mapping[str, Any]],
    template: str,
    *,
    special_tokens: Mapping[str, str],
    add_generation_prompt: bool = True,
    now: datetime | None = None,
) -> str:
    """Render `messages` (each with `role` and `content`) as one prompt.

    special_tokens: what the template may name, such as `bos_token`; `Tokenizer.special_tokens`.
    add_generation_prompt: end with the opening of the assistant's turn.

    Raises:
        InvalidChat: malformed template, a template's own refusal, or a bound exceeded.
    """
    if len(messages) > MAX_MESSAGES:
        raise InvalidChat(f"{len(messages)} messages; the limit is {MAX_MESSAGES}")
    if len(template) > MAX_TEMPLATE_CHARS:
        raise InvalidChat(
            f"template of {len(template)} characters; the limit is {MAX_TEMPLATE_CHARS}"
        )

    def strftime_now(form: str) -> str:
        if now is None:
            raise jinja2.TemplateError("the template asks for the date; pass `now`")
        return now.strftime(form)

    pieces: list[str] = []
    size = 0
    try:
        for piece in _compiled(template).generate(
            messages=[dict(message) for message in messages],
            add_generation_prompt=add_generation_prompt,
            strftime_now=strftime_now,
            **special_tokens,
        ):
            size += len(piece)
            if size > MAX_RENDERED_CHARS:
                raise InvalidChat(f"rendered chat exceeds {MAX_RENDERED_CHARS} characters")
            pieces.append(piece)
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        raise InvalidChat(f"chat template: {error}") from None
    return "".join(pieces)


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    return environment.from_string(template)


def _to_json(value: Any, indent: int | None = None) -> str:
    """Plain JSON: the stock filter escapes for HTML, which models were not tuned on."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
