"""From a question to what a signed answer says of it, and back: `request_of`, `question_of`.

Law: the question that comes back is sampled like the one that was asked, bit for bit.
"""

import json
from typing import Any

from pydantic import ValidationError

from archipel.serve.question import Bends, Calling, Form, Question, Settings
from archipel.serve.signed.document import (
    BadAnswer,
    NotSignable,
    SignedAnswer,
    SignedBends,
    SignedCalling,
    SignedRequest,
)


def request_of(
    question: Question, prompt: tuple[int, ...], seed: int, max_new_tokens: int
) -> SignedRequest:
    """Of a question whose prompt, seed and longest answer are settled.

    Raises:
        NotSignable: more than the form takes.
    """
    settings, calling = question.settings, question.calling
    form, bends = settings.form, settings.bends
    try:
        return SignedRequest(
            prompt=prompt,
            seed=str(seed),
            choices=settings.choices,
            max_new_tokens=max_new_tokens,
            temperature=repr(float(settings.temperature)),
            top_k=settings.top_k,
            top_p=repr(float(settings.top_p)),
            min_p=repr(float(settings.min_p)),
            stop=settings.stop,
            bends=None if bends == Bends() else _signed_bends(bends),
            schema_text=None if form is None else form.schema,
            calling=SignedCalling(
                tools=json.dumps(question.tools),
                is_forced=calling.is_forced,
                name=calling.name,
                is_single=calling.is_single,
                is_several=calling.is_several,
            )
            if question.tools
            else None,
        )
    except ValidationError as error:
        raise NotSignable(
            str(error.errors(include_url=False, include_input=False)[0]["msg"])
        ) from None


def _signed_bends(bends: Bends) -> SignedBends:
    biases = {str(token): repr(float(bias)) for token, bias in sorted(bends.biases.items())}
    return SignedBends(
        biases=biases or None,
        presence=repr(float(bends.presence)),
        frequency=repr(float(bends.frequency)),
        repeat=repr(float(bends.repeat)),
        recent=bends.recent,
    )


def question_of(answer: SignedAnswer) -> Question:
    """The question again, with the prompt's tokens in the place of its messages.

    Raises:
        BadAnswer: its tools are no JSON.
    """
    asked = answer.request
    bends = asked.bends
    settings = Settings(
        max_new_tokens=asked.max_new_tokens,
        temperature=float(asked.temperature),
        top_p=float(asked.top_p),
        top_k=asked.top_k,
        min_p=float(asked.min_p),
        seed=int(asked.seed),
        choices=asked.choices,
        stop=asked.stop,
        bends=Bends() if bends is None else _bends(bends),
        form=None if asked.schema_text is None else Form(asked.schema_text),
    )
    tools, calling = _calling(asked.calling)
    return Question(answer.model, settings, tokens=asked.prompt, tools=tools, calling=calling)


def _bends(said: SignedBends) -> Bends:
    biases = {int(token): float(bias) for token, bias in (said.biases or {}).items()}
    return Bends(
        biases, float(said.presence), float(said.frequency), float(said.repeat), said.recent
    )


def _calling(said: SignedCalling | None) -> tuple[tuple[dict[str, Any], ...], Calling]:
    if said is None:
        return (), Calling()
    try:
        tools = json.loads(said.tools)
    except (ValueError, RecursionError):
        raise BadAnswer("no signed answer: its tools are no JSON") from None
    if not isinstance(tools, list) or not all(isinstance(each, dict) for each in tools):
        raise BadAnswer("no signed answer: its tools are no list of objects")
    return tuple(tools), Calling(said.is_forced, said.name, said.is_single, said.is_several)
