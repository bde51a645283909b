"""Questions of sampling and their answers keep their bits; an answer to another question is refused."""

from dataclasses import replace

import numpy as np
import pytest

from archipel.records.payload import BadPayload
from archipel.training.tenants.operations import Refused
from archipel.work.question_payloads import (
    pack_answers,
    pack_questions,
    unpack_answers,
    unpack_questions,
)
from archipel.work.questions import Completion, Question, Sampled, TopK

PLAIN = Question((1, 2, 3), 2, 4, 2**64 - 1, 0.1 + 0.2, -1, 1.0)
FULL = replace(
    PLAIN,
    num_samples=0,
    stop_tokens=(7,),
    stop_strings=("é\n",),
    prompt_logprobs=True,
    topk_prompt_logprobs=2,
    topk_sample_logprobs=1,
    target_prompt_tokens=((1, 9), (1, 3), (2, 0)),
)
ROW = np.array([np.nan, -1.5, -np.inf], np.float32)
TOP = TopK(np.arange(6, dtype=np.int32).reshape(3, 2), np.full((3, 2), -99999, np.float32))
TWO = (
    Completion((4, 5), (-0.5, -0.25), "stop", None),
    Completion((4, 5, 6, 6), (-0.5,) * 4, "length", None),
)
ANSWERS = (Sampled(TWO, None, None, None, 12), Sampled((), ROW, TOP, ROW, 3))


def test_questions_come_back_as_they_were() -> None:
    packed = pack_questions((PLAIN, FULL))
    assert unpack_questions(packed) == (PLAIN, FULL)
    assert pack_questions(unpack_questions(packed)) == packed


def test_answers_come_back_with_their_bits() -> None:
    first, second, third = unpack_answers(
        pack_answers((*ANSWERS, Refused("too long"))), (PLAIN, FULL, PLAIN)
    )
    assert isinstance(first, Sampled)
    assert isinstance(second, Sampled)
    assert [vars(each) for each in first.sequences] == [vars(each) for each in TWO]
    assert third == Refused("too long")
    assert first.prompt_logprobs is None
    assert second.prompt_logprobs is not None
    assert second.target_prompt is not None
    assert second.topk_prompt is not None
    assert second.prompt_logprobs.tobytes() == second.target_prompt.tobytes() == ROW.tobytes()
    assert second.topk_prompt.tokens.tolist() == TOP.tokens.tolist()
    assert second.topk_prompt.logprobs.tobytes() == TOP.logprobs.tobytes()


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAIN, num_samples=1),
        replace(PLAIN, max_tokens=3),
        replace(PLAIN, prompt_logprobs=True),
        replace(PLAIN, topk_sample_logprobs=1),
        replace(PLAIN, topk_prompt_logprobs=1),
        replace(PLAIN, target_prompt_tokens=((1, 4),)),
    ],
    ids=["number", "length", "scores", "top of samples", "top of prompt", "targets"],
)
def test_answers_to_other_questions_are_refused(other: Question) -> None:
    packed = pack_answers(ANSWERS[:1])
    assert len(unpack_answers(packed, (PLAIN,))) == 1
    with pytest.raises(BadPayload):
        unpack_answers(packed, (other,))
    with pytest.raises(BadPayload):
        unpack_answers(packed, (PLAIN, PLAIN))
