"""Questions answered by one engine, from its base or with one adapter over it.

Parts: `PlainEngine` (an engine with weights, and at most one adapter), `Nothing` (the adapter that adds nothing).
Laws: a question's answer hangs on weights and question alone, whatever is asked beside it; beside adapters an engine rounds
otherwise than without any, so it always has one; a question that makes no sense is refused by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from archipel.engine.engine import LocalEngine
from archipel.engine.protocol import NonFiniteLogits
from archipel.engine.scoring import Scoring, Wanted
from archipel.model.adapter import Adapter, adapter_shapes
from archipel.model.config import DecoderConfig
from archipel.model.pieces import NoPieces
from archipel.model.stop_strings import StopStrings
from archipel.model.tokenizer import InvalidTokenizer, Tokenizer
from archipel.records.adapter import MICRO, AdapterForm
from archipel.records.cuts import Cut
from archipel.records.requests import Ending, InvalidRequest, Request
from archipel.records.rollouts import Rollout
from archipel.training.tenants.operations import Refused
from archipel.work.looking import Looking, top_k
from archipel.work.questions import Completion, Question, Sampled

NOTHING, ADAPTER = "nothing", "adapter"
"""The engine's names for what adds nothing, and for what is asked with."""
BROKEN = (
    "what this model computes is no finite number any more; go back to an earlier checkpoint, and train on with a lower "
    "learning rate"
)
Told = Callable[[int], None]


def nothing(config: DecoderConfig) -> Adapter:
    """An adapter that adds nothing."""
    form = AdapterForm(rank=1, alpha_micro=MICRO, targets=("o_proj",), rank_stabilised=False)
    shapes = adapter_shapes(config, form)
    return Adapter(form, {name: torch.zeros(shape) for name, shape in shapes.items()})


@dataclass(eq=False)
class _Asked:
    """A question, and what came of it so far."""

    question: Question
    request: Request | None
    looking: Looking | None
    wanted: Wanted | None
    scoring: Scoring | None = None
    ended: dict[int, Rollout] = field(default_factory=dict)


class PlainEngine:
    """Of one base."""

    def __init__(self, engine: LocalEngine, model: Path) -> None:
        """engine: has its weights, and no adapter yet; model: a directory with the tokenizer, if there is any."""
        self._engine, self._model = engine, model
        self._tokenizer: Tokenizer | None = None
        self._held = ""
        engine.adapt(NOTHING, nothing(engine.config))

    def take(self, name: str, adapter: Adapter | None) -> None:
        """Answer with this adapter from now on; the same name is the same adapter.

        Raises:
            WrongWeights: it is not of this architecture.
        """
        if adapter is None:
            return
        if self._held != name:
            self._held = ""
            self._engine.adapt(ADAPTER, adapter)
            self._held = name

    def answers(
        self, questions: Sequence[Question], with_adapter: bool, told: Told
    ) -> list[Sampled | Refused]:
        """One for each, in their order; told: how many tokens were sampled so far."""
        adapter = ADAPTER if with_adapter else None
        found: list[Sampled | Refused | None] = [None] * len(questions)
        going: dict[int, _Asked] = {}
        for number, question in enumerate(questions):
            try:
                asked = self._asked(question, adapter)
                self._score(asked, adapter)
                going[number] = asked
            except InvalidRequest as error:
                found[number] = Refused(str(error))
            except NonFiniteLogits:
                found[number] = Refused(BROKEN)
        for number, why in self._sampled(going, told).items():
            found[number] = why
        for number, asked in going.items():
            found[number] = found[number] or _sampled_of(asked)
        return [each for each in found if each is not None]

    def _asked(self, question: Question, adapter: str | None) -> _Asked:
        """Raises InvalidRequest: it makes no sense."""
        cut = Cut(max(0, question.top_k), question.top_p)
        if fault := cut.fault:
            raise InvalidRequest(f"{fault}; ask again with another")
        left = None if question.temperature == 0 or not cut.bounds else cut
        if not question.prompt:
            raise InvalidRequest("the prompt has no token; expected one at least")
        request, looking, wanted = None, None, None
        if question.topk_sample_logprobs:
            looking = Looking(question.topk_sample_logprobs, question.temperature, left)
        if question.num_samples:
            request = Request(
                key="sample",
                prompt=question.prompt,
                seed=question.seed,
                num_rollouts=question.num_samples,
                max_new_tokens=question.max_tokens,
                temperature=question.temperature,
                stop_tokens=question.stop_tokens,
                cut=left,
                ending=self._ending(question.stop_strings),
                adapter=adapter,
                steering=looking,
            )
        if (
            question.prompt_logprobs
            or question.topk_prompt_logprobs
            or question.target_prompt_tokens
        ):
            wanted = Wanted(question.topk_prompt_logprobs, question.target_prompt_tokens or ())
        if request is None and wanted is None:
            raise InvalidRequest("neither a completion nor a score is asked for; expected one")
        return _Asked(question, request, looking, wanted)

    def _ending(self, stops: tuple[str, ...]) -> Ending | None:
        """Raises InvalidRequest: not with this tokenizer."""
        if not stops:
            return None
        if not all(stops):
            raise InvalidRequest("a stop string is empty; leave it out")
        try:
            if self._tokenizer is None:
                self._tokenizer = Tokenizer.from_directory(self._model)
            return StopStrings.of(stops, self._tokenizer.pieces)
        except (NoPieces, InvalidTokenizer) as error:
            raise InvalidRequest(f"{error}; stop at tokens instead of texts") from None

    def _score(self, asked: _Asked, adapter: str | None) -> None:
        """Raises InvalidRequest, NonFiniteLogits."""
        if asked.wanted is not None:
            asked.scoring = self._engine.scoring(asked.question.prompt, asked.wanted, adapter)
            while asked.scoring.step():
                pass

    def _sampled(self, going: dict[int, _Asked], told: Told) -> dict[int, Refused]:
        """Sample all of them side by side; by number, why something came of none."""
        refused: dict[int, Refused] = {}
        try:
            refused = self._run(going, told)
        except NonFiniteLogits:
            if len(going) == 1:
                return dict.fromkeys(going, Refused(BROKEN))
            for number, asked in going.items():
                asked.ended.clear()
                refused |= self._sampled({number: asked}, told)
        return refused

    def _run(self, going: dict[int, _Asked], told: Told) -> dict[int, Refused]:
        """Raises NonFiniteLogits; then nothing runs in the engine any more."""
        owners, refused, num_tokens = {}, {}, 0
        for number, asked in going.items():
            if asked.request is not None:
                try:
                    owners[self._engine.add(asked.request)] = asked
                except InvalidRequest as error:
                    refused[number] = Refused(str(error))
        try:
            while self._engine.has_work:
                events = self._engine.step()
                num_tokens += len(events)
                for (ticket, rollout), ended in events.ended.items():
                    owners[ticket].ended[rollout] = ended
                told(num_tokens)
        except NonFiniteLogits:
            for ticket in owners:
                self._engine.cancel(ticket)
            raise
        return refused


def _sampled_of(asked: _Asked) -> Sampled:
    """All of it."""
    question, scoring = asked.question, asked.scoring
    rollouts = [asked.ended[number] for number in range(question.num_samples)]
    completions = []
    for number, each in enumerate(rollouts):
        ended_by = "stop" if each.finished else "length"
        completion = Completion(each.tokens, each.logprobs, ended_by, None)
        if asked.looking is not None:
            completion = replace(completion, topk=asked.looking.of(number, len(each.tokens)))
        completions.append(completion)
    scores = top = pairs = None
    if scoring is not None:
        scores = scoring.logprobs if question.prompt_logprobs else None
        if question.topk_prompt_logprobs:
            top = top_k(scoring.top_tokens, scoring.top_logprobs)
        pairs = scoring.pairs
    if question.target_prompt_tokens is None:
        pairs = None
    elif pairs is None:
        pairs = torch.zeros(0).numpy()
    count = len(question.prompt) + sum(len(each.tokens) for each in rollouts)
    return Sampled(tuple(completions), scores, top, pairs, count)
