"""Readers of what a door and the nodes that do its work send each other."""

from functools import partial

import numpy as np

from archipel.records.payload import BadPayload
from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    OptimStep,
    Refused,
    Scored,
    Stepped,
)
from archipel.training.tenants.parcels import (
    pack_operations,
    pack_outcomes,
    unpack_operations,
    unpack_outcomes,
)
from archipel.work.question_payloads import (
    pack_answers,
    pack_questions,
    unpack_answers,
    unpack_questions,
)
from archipel.work.questions import Completion, Question, Sampled, TopK
from fuzz.reading import Reader

DATUM = Datum(
    np.array([1, 2, 3], np.int32),
    {"target_tokens": np.array([2, 3, 4]), "weights": np.ones(3, np.float32)},
)
TURN = (ForwardBackward((DATUM,), "ppo", {"clip_low_threshold": 0.8}), OptimStep(1e-3))
CAME = (Scored((np.zeros(3, np.float32),), {"loss:sum": 1.0}), Stepped({"norm": 2.0}))
QUESTION = Question(
    prompt=(1, 2),
    num_samples=1,
    max_tokens=2,
    seed=3,
    temperature=1.0,
    top_k=-1,
    top_p=0.9,
    stop_strings=("\n",),
    prompt_logprobs=True,
    topk_sample_logprobs=2,
    target_prompt_tokens=((1, 5), (1, 6)),
)
ROW = np.array([np.nan, -1.0], np.float32)
TOP = TopK(np.ones((2, 2), np.int32), np.zeros((2, 2), np.float32))
SAMPLED = Sampled((Completion((4, 5), (-1.0, -2.0), "stop", TOP),), ROW, None, ROW, 4)


def readers() -> dict[str, Reader]:
    """One of each payload."""
    outcomes = partial(unpack_outcomes, operations=TURN)
    said = (pack_outcomes(CAME), pack_outcomes((Refused("no"), CAME[1])))
    answers = partial(unpack_answers, questions=(QUESTION,))
    answered = (pack_answers((SAMPLED,)), pack_answers((Refused("no"),)))
    asked = pack_questions((QUESTION,))
    return {
        "questions": Reader(unpack_questions, (asked,), (BadPayload,)),
        "answers to questions": Reader(answers, answered, (BadPayload,)),
        "operations of a turn": Reader(unpack_operations, (pack_operations(TURN),), (BadPayload,)),
        "outcomes of a turn": Reader(outcomes, said, (BadPayload,)),
    }
