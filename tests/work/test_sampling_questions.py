"""Questions that a node answers: each as if it were alone, and one that makes no sense is refused by itself."""

from dataclasses import replace
from pathlib import Path

from archipel.engine.engine import EngineLimits, LocalEngine
from archipel.training.tenants.operations import Refused
from archipel.work.question_payloads import pack_answers
from archipel.work.questions import Question, Sampled
from archipel.work.resident import frozen
from archipel.work.sampling import PlainEngine
from engine.engine_models import decoder_of, lively_state
from one_base import CONFIG, lively

QUESTION = Question((1, 2, 3), 2, 5, 7, 1.0, -1, 1.0)
QUESTIONS = (
    QUESTION,
    replace(QUESTION, seed=8, top_k=3, topk_sample_logprobs=2),
    replace(QUESTION, num_samples=0, prompt_logprobs=True, target_prompt_tokens=((1, 4), (1, 5))),
    replace(QUESTION, temperature=0.0, topk_prompt_logprobs=2),
)
SENSELESS = (
    replace(QUESTION, prompt=()),
    replace(QUESTION, prompt=(99,)),
    replace(QUESTION, num_samples=0),
    replace(QUESTION, stop_strings=("a",)),
)


def engine_of() -> PlainEngine:
    engine = LocalEngine(CONFIG, limits=EngineLimits.serving(2**22))
    decoder = frozen(decoder_of(CONFIG, lively_state(CONFIG)))
    engine.load({name: each.detach() for name, each in decoder.named_parameters()})
    return PlainEngine(engine, Path("/nowhere"))


def test_a_question_is_answered_as_it_is_alone_and_a_senseless_one_is_refused_by_itself() -> None:
    engine = engine_of()
    mixed = (*QUESTIONS, *SENSELESS, QUESTIONS[0])
    together = engine.answers(mixed, False, lambda count: None)
    for question, answer in zip(mixed, together, strict=True):
        (alone,) = engine.answers([question], False, lambda count: None)
        assert pack_answers([answer]) == pack_answers([alone])
        assert isinstance(answer, Refused) == (question in SENSELESS)


def test_an_adapter_changes_answers_and_a_base_s_hang_on_none() -> None:
    engine, told = engine_of(), list[int]()
    before = engine.answers(QUESTIONS, False, told.append)
    engine.take("one", lively(1, CONFIG))
    over = engine.answers(QUESTIONS, True, told.append)
    engine.take("two", lively(2, CONFIG))
    other = engine.answers(QUESTIONS, True, told.append)
    after = engine.answers(QUESTIONS, False, told.append)
    assert pack_answers(before) == pack_answers(after)
    assert len({pack_answers(each) for each in (before, over, other)}) == 3
    assert told[-1] == sum(
        len(each.tokens)
        for answer in after
        if isinstance(answer, Sampled)
        for each in answer.sequences
    )
