"""One prompt that is to be answered: what the engine is asked for it, and what came of it.

Parts: `Question`, `Part` (some of its completions, side by side in the engine), `question_of`. Law: however a question is cut
into parts, and whenever these begin, its completions have the noise that their numbers give them.
"""

from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from archipel.door.hands import CannotDo, Completion, SampleAsked, Sampled, TopK
from archipel.door.local.adapters import engine_name
from archipel.engine.protocol import Event
from archipel.engine.scoring import Scoring, Wanted
from archipel.records.cuts import Cut
from archipel.records.requests import Ending, InvalidRequest, Request
from archipel.records.rollouts import Rollout
from archipel.work.looking import Looking, top_k


@dataclass(eq=False)
class Question:
    """Who waits for the answer to one prompt."""

    asked: SampleAsked
    request: Request | None
    """What its completions are asked with, all at once; None: it has none."""
    wanted: Wanted | None
    """What its prompt is scored for; None: it is not."""
    cut: Cut | None
    future: Future[Sampled]
    num_given: int = 0
    """Completions that the engine was given so far."""
    has_left: bool = False
    """Whether nobody waits for it any more."""
    scoring: Scoring | None = None
    ended: dict[int, Rollout] = field(default_factory=dict)
    looks: dict[int, TopK] = field(default_factory=dict)

    @property
    def num_waiting(self) -> int:
        """Completions that the engine was not given yet."""
        return 0 if self.request is None else self.asked.num_samples - self.num_given

    @property
    def is_unscored(self) -> bool:
        """Whether its prompt's scoring has not begun."""
        return self.wanted is not None and self.scoring is None

    @property
    def waits(self) -> bool:
        """Whether something of it has not begun."""
        return self.is_unscored or self.num_waiting > 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        is_scored = self.wanted is None or (self.scoring is not None and self.scoring.is_whole)
        return is_scored and len(self.ended) == self.asked.num_samples

    @property
    def sampled(self) -> Sampled:
        """What came of it."""
        asked, scoring = self.asked, self.scoring
        rollouts = [self.ended[number] for number in range(asked.num_samples)]
        completions = tuple(
            Completion(
                each.tokens, each.logprobs, "stop" if each.finished else "length",
                self.looks.get(number),
            )
            for number, each in enumerate(rollouts)
        )  # fmt: skip
        scores = top = pairs = None
        if scoring is not None:
            scores = scoring.logprobs if asked.prompt_logprobs else None
            if asked.topk_prompt_logprobs:
                top = top_k(scoring.top_tokens, scoring.top_logprobs)
            pairs = None if asked.target_prompt_tokens is None else scoring.pairs
        count = len(asked.prompt) + sum(len(each.tokens) for each in rollouts)
        return Sampled(completions, scores, top, pairs, count)


class Part:
    """Some completions of a question."""

    def __init__(self, question: Question, request: Request, count: int) -> None:
        """request: of the whole question; count: the next so many of those that wait."""
        asked = question.asked
        self.question, self.first, self.count = question, question.num_given, count
        question.num_given += count
        self.remaining = count
        self._looking = None
        if asked.topk_sample_logprobs:
            self._looking = Looking(asked.topk_sample_logprobs, asked.temperature, question.cut)
        self.request = replace(
            request, num_rollouts=count, first_rollout=self.first, steering=self._looking
        )
        self._held: dict[int, Rollout] = {}

    def told(self, event: Event) -> bool:
        """What was sampled; whether that was the end of this part, and so what came of it is the question's."""
        if event.ended is not None:
            self._held[event.rollout] = event.ended
            self.remaining -= 1
        if self.remaining:
            return False
        for number, rollout in self._held.items():
            self.question.ended[self.first + number] = rollout
            if self._looking is not None:
                look = self._looking.of(number, len(rollout.tokens))
                self.question.looks[self.first + number] = look
        return True

    def again(self) -> None:
        """Nothing of it came; it begins once more."""
        self._held.clear()
        self.remaining = self.count


def question_of(asked: SampleAsked, ending: Ending | None) -> Question:
    """What is asked, checked as far as it can be without the model.

    ending: of its stop strings.

    Raises:
        CannotDo: it makes no sense.
    """
    cut = Cut(max(0, asked.top_k), asked.top_p)
    if fault := cut.fault:
        raise CannotDo(f"{fault}; ask again with another")
    left = None if asked.temperature == 0 or not cut.bounds else cut
    if not asked.prompt:
        raise CannotDo("the prompt has no token; expected one at least")
    request = None
    if asked.num_samples:
        try:
            request = Request(
                key="sample",
                prompt=asked.prompt,
                seed=asked.seed,
                num_rollouts=asked.num_samples,
                max_new_tokens=asked.max_tokens,
                temperature=asked.temperature,
                stop_tokens=asked.stop_tokens,
                cut=left,
                ending=ending,
                adapter=engine_name(asked.weights),
                salt=asked.tenant,
            )
        except InvalidRequest as error:
            raise CannotDo(str(error)) from None
    wanted = None
    if asked.prompt_logprobs or asked.topk_prompt_logprobs or asked.target_prompt_tokens:
        wanted = Wanted(asked.topk_prompt_logprobs, asked.target_prompt_tokens or ())
    if request is None and wanted is None:
        raise CannotDo("neither a completion nor a score is asked for; expected one of them")
    return Question(asked, request, wanted, left, Future())
