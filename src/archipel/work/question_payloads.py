"""The bytes in which questions of sampling and their answers travel.

Parts: `pack_questions`, `unpack_questions`; `pack_answers`, `unpack_answers`.
Laws: numbers come out with the bits that went in; an answer is read beside its question, and refused if it is not of that.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from archipel.records.fields import Closed, TokenId
from archipel.records.payload import BadPayload
from archipel.records.requests import MAX_ROLLOUTS, MAX_STOPS
from archipel.training.tenants.columns import Columns, Opened
from archipel.training.tenants.operations import Array, Refused
from archipel.work.questions import Completion, Question, Sampled, TopK

QUESTIONS, ANSWERS = "archipel.questions.v1", "archipel.completions.v1"
MAX_QUESTIONS = 1024
"""Of one work."""
MAX_TEXT_TOKENS = 2**24
MAX_K = 256
"""Tokens that are told of one place."""
MAX_STOP_CHARACTERS = 1024
MAX_REASON = 2000
Ending = Literal["stop", "length"]
ENDINGS: tuple[Ending, ...] = ("stop", "length")

Length = Annotated[int, Field(ge=0, le=MAX_TEXT_TOKENS)]
K = Annotated[int, Field(ge=0, le=MAX_K)]
Stops = Annotated[tuple[TokenId, ...], Field(max_length=MAX_STOPS)]
Strings = Annotated[
    tuple[Annotated[str, Field(max_length=MAX_STOP_CHARACTERS)], ...], Field(max_length=MAX_STOPS)
]


class _Question(Closed):
    prompt: Length
    num_samples: Annotated[int, Field(ge=0, le=MAX_ROLLOUTS)]
    max_tokens: Length
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    top_k: Annotated[int, Field(ge=-1, lt=2**31)]
    stop_tokens: Stops
    stop_strings: Strings
    prompt_logprobs: bool
    topk_prompt_logprobs: K
    topk_sample_logprobs: K
    targets: Length | None


class _Questions(Closed):
    questions: Annotated[tuple[_Question, ...], Field(max_length=MAX_QUESTIONS)]


class _Completion(Closed):
    tokens: Length
    ended_by: Ending


class _Sampled(Closed):
    came: Literal["sampled"] = "sampled"
    sequences: Annotated[tuple[_Completion, ...], Field(max_length=MAX_ROLLOUTS)]
    num_tokens: Annotated[int, Field(ge=0, lt=2**48)]


class _Refused(Closed):
    came: Literal["refused"] = "refused"
    reason: Annotated[str, Field(max_length=MAX_REASON)]


class _Answers(Closed):
    answers: Annotated[
        tuple[Annotated[_Sampled | _Refused, Field(discriminator="came")], ...],
        Field(max_length=MAX_QUESTIONS),
    ]


def pack_questions(questions: Sequence[Question]) -> bytes:
    """The bytes of questions, in their order.

    Raises:
        ValueError: more than a bound allows, or a token that is none.
    """
    columns = Columns()
    asked = tuple(_asked(columns, each) for each in questions)
    return columns.to_bytes(QUESTIONS, _Questions(questions=asked))


def unpack_questions(data: bytes | memoryview) -> tuple[Question, ...]:
    """What `pack_questions` was given.

    Raises:
        BadPayload: these bytes are no questions.
    """
    opened = Opened(data, QUESTIONS, _Questions)
    questions = tuple(_question(opened, each) for each in opened.document.questions)
    opened.end()
    return questions


def pack_answers(answers: Sequence[Sampled | Refused]) -> bytes:
    """The bytes of what came of questions, in their order."""
    columns = Columns()
    came = tuple(_came(columns, each) for each in answers)
    return columns.to_bytes(ANSWERS, _Answers(answers=came))


def unpack_answers(
    data: bytes | memoryview, questions: Sequence[Question]
) -> tuple[Sampled | Refused, ...]:
    """What came of these questions.

    Raises:
        BadPayload: these bytes are no answers, or not to these questions.
    """
    opened = Opened(data, ANSWERS, _Answers)
    came = opened.document.answers
    if len(came) != len(questions):
        raise BadPayload(f"{len(came)} answers to {len(questions)} questions; expected as many")
    answers = tuple(_answer(opened, said, q) for said, q in zip(came, questions, strict=True))
    opened.end()
    return answers


def _asked(columns: Columns, question: Question) -> _Question:
    columns.put("integers", _integers(question.prompt))
    targets = question.target_prompt_tokens
    for pair in targets or ():
        columns.put("integers", _integers(pair))
    columns.put("numbers", (question.temperature, question.top_p))
    return _Question(
        prompt=len(question.prompt),
        num_samples=question.num_samples,
        max_tokens=question.max_tokens,
        seed=question.seed,
        top_k=question.top_k,
        stop_tokens=question.stop_tokens,
        stop_strings=question.stop_strings,
        prompt_logprobs=question.prompt_logprobs,
        topk_prompt_logprobs=question.topk_prompt_logprobs,
        topk_sample_logprobs=question.topk_sample_logprobs,
        targets=None if targets is None else len(targets),
    )


def _question(opened: Opened[_Questions], said: _Question) -> Question:
    prompt = tuple(opened.take("integers", said.prompt).tolist())
    targets = None
    if said.targets is not None:
        pairs = opened.take("integers", 2 * said.targets).reshape(-1, 2).tolist()
        targets = tuple((place, token) for place, token in pairs)
    temperature, top_p = opened.take("numbers", 2).tolist()
    return Question(
        prompt=prompt,
        num_samples=said.num_samples,
        max_tokens=said.max_tokens,
        seed=said.seed,
        temperature=temperature,
        top_k=said.top_k,
        top_p=top_p,
        stop_tokens=said.stop_tokens,
        stop_strings=said.stop_strings,
        prompt_logprobs=said.prompt_logprobs,
        topk_prompt_logprobs=said.topk_prompt_logprobs,
        topk_sample_logprobs=said.topk_sample_logprobs,
        target_prompt_tokens=targets,
    )


def _came(columns: Columns, answer: Sampled | Refused) -> _Sampled | _Refused:
    if isinstance(answer, Refused):
        return _Refused(reason=answer.reason[:MAX_REASON])
    for each in answer.sequences:
        columns.put("integers", _integers(each.tokens))
        columns.put("floats", each.logprobs)
        _put_topk(columns, each.topk)
    for row in (answer.prompt_logprobs, answer.target_prompt):
        if row is not None:
            columns.put("floats", row)
    _put_topk(columns, answer.topk_prompt)
    sequences = tuple(
        _Completion(tokens=len(each.tokens), ended_by=_ending(each.ended_by))
        for each in answer.sequences
    )
    return _Sampled(sequences=sequences, num_tokens=answer.num_tokens)


def _answer(
    opened: Opened[_Answers], said: _Sampled | _Refused, question: Question
) -> Sampled | Refused:
    """What an answer holds follows from its question; so nobody can leave out what was asked."""
    if isinstance(said, _Refused):
        return Refused(said.reason)
    if len(said.sequences) != question.num_samples:
        raise BadPayload(
            f"{len(said.sequences)} completions; expected {question.num_samples}, as were asked"
        )
    sequences = tuple(_completion(opened, each, question) for each in said.sequences)
    places, targets = len(question.prompt), question.target_prompt_tokens
    return Sampled(
        sequences=sequences,
        prompt_logprobs=opened.take("floats", places) if question.prompt_logprobs else None,
        target_prompt=None if targets is None else opened.take("floats", len(targets)),
        topk_prompt=_topk(opened, places, question.topk_prompt_logprobs),
        num_tokens=said.num_tokens,
    )


def _completion(opened: Opened[_Answers], said: _Completion, question: Question) -> Completion:
    if said.tokens > question.max_tokens:
        raise BadPayload(
            f"a completion of {said.tokens} tokens; expected at most {question.max_tokens}"
        )
    tokens = tuple(opened.take("integers", said.tokens).tolist())
    logprobs = tuple(opened.take("floats", said.tokens).tolist())
    topk = _topk(opened, said.tokens, question.topk_sample_logprobs)
    return Completion(tokens, logprobs, said.ended_by, topk)


def _put_topk(columns: Columns, topk: TopK | None) -> None:
    if topk is not None:
        columns.put("integers", topk.tokens)
        columns.put("floats", topk.logprobs)


def _topk(opened: Opened[_Answers], places: int, k: int) -> TopK | None:
    if not k:
        return None
    tokens = opened.take("integers", places * k).reshape(places, k)
    return TopK(tokens, opened.take("floats", places * k).reshape(places, k))


def _integers(tokens: Sequence[int]) -> Array:
    return np.array(tokens, np.int64)


def _ending(said: str) -> Ending:
    """Raises ValueError: no completion ends like this."""
    for each in ENDINGS:
        if said == each:
            return each
    raise ValueError(f"a completion ended by {said!r:.40}; expected stop or length")
