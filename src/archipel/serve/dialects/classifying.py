"""Our own small endpoint: how likely the model finds each of some answers, from one reading of the question.

POST /v1/classify takes `messages` or `prompt`, as chat completions and completions do, `choices`, and perhaps `length` and
`prior`. No other server's form is followed: none is known for it.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StrictStr

from archipel.serve.dialects.dialect import Body, read
from archipel.serve.dialects.openai_asked import MAX_MESSAGES, Turn, turn_of
from archipel.serve.question import BadQuestion, Question, Settings
from archipel.serve.texts import Length, Weighed, Weighing

_Turns = Annotated[list[Turn], Field(min_length=1, max_length=MAX_MESSAGES)]


class ClassifyBody(Body):
    """POST /v1/classify."""

    model: StrictStr
    choices: list[StrictStr]
    messages: _Turns | None = None
    prompt: StrictStr | None = None
    prior: StrictStr | _Turns | None = None
    length: Length = "sum"


def asked(data: bytes) -> Weighing:
    """Raises Refusal."""
    body = read(ClassifyBody, data)
    if (body.messages is None) == (body.prompt is None):
        raise BadQuestion("expected either messages or prompt", "messages")
    if body.prior is not None and isinstance(body.prior, str) == (body.prompt is None):
        raise BadQuestion(
            "prior is of another kind than messages or prompt; make them alike", "prior"
        )
    held: Any = body.prompt if body.messages is None else body.messages
    prior = None if body.prior is None else _question(body.model, body.prior)
    return Weighing(_question(body.model, held), tuple(body.choices), body.length, prior)


def told(weighing: Weighing, weighed: Weighed, fingerprint: str) -> Mapping[str, Any]:
    """The answer."""
    rows = [
        {
            "index": index,
            "text": text,
            "probability": weighed.probabilities[index],
            "logprob": weighed.likelihoods[index].logprob,
            "prior_logprob": None if weighed.priors is None else weighed.priors[index].logprob,
            "num_tokens": weighed.likelihoods[index].num_tokens,
        }
        for index, text in enumerate(weighing.choices)
    ]
    used, chances = weighed.num_prompt_tokens, weighed.probabilities
    return {
        "object": "classification",
        "model": weighing.question.model,
        "system_fingerprint": fingerprint,
        "choice": weighing.choices[chances.index(max(chances))],
        "choices": rows,
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


def _question(model: str, said: str | list[Turn]) -> Question:
    if isinstance(said, str):
        return Question(model, Settings(), text=said)
    return Question(model, Settings(), tuple(map(turn_of, said)))
