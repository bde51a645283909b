"""Episodes: a model and an environment by turns, played with any engine, and played again without one.

Parts: `Conduct` (how the episodes of one run go: `play`, `upholds`), `conduct_of` and `conduct_by` (from a recipe,
from the terms that nodes are given: the same), `void`. What an episode is as tokens stands in
`records.episodes`, how a model's turns are read and answered in `manner`.
Laws: what follows a turn depends on the task and on the turns so far, never on who plays or on what is played
beside it; each turn's noise is that of its positions in the whole episode.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from archipel.model.chat import InvalidChat
from archipel.model.tokenizer import Tokenizer, UnknownText
from archipel.records.episodes import PLAYED, SAMPLED, WRITTEN, EpisodeTerms, turns_of
from archipel.records.programmes.rl import episode_terms
from archipel.records.recipe import PromptSection, Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.environments.episodic import Episodic, Turn
from archipel.training.environments.task import Environment, InvalidEnvironment, Task
from archipel.training.groups import uses_chat
from archipel.training.manner import Manner, format_for

Generate = Callable[[Sequence[Request], Callable[[int], None]], Sequence[Sequence[Rollout]]]
"""(requests, told the tokens sampled so far) -> per request, its rollouts: `Engine.generate`."""


def _unheard(tokens: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Step:
    """What follows a turn of the model."""

    answer: tuple[int, ...] = ()
    """The environment's tokens; () where the episode ends."""
    is_over: bool = False
    """The environment said that it is; else it was cut off."""


CUT = Step()


@dataclass
class _Line:
    """One episode while it is played."""

    request: Request
    task: Task
    number: int
    """Of the rollout in its group."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    mask: bytearray = field(default_factory=bytearray)
    turns: list[Turn] = field(default_factory=list)
    is_over: bool = False

    def take(self, turn: Rollout) -> None:
        self.tokens += turn.tokens
        self.logprobs += turn.logprobs
        self.mask += bytes([SAMPLED]) * len(turn.tokens)

    def answered(self, answer: tuple[int, ...]) -> None:
        self.tokens += answer
        self.logprobs += [0.0] * len(answer)
        self.mask += bytes([WRITTEN]) * len(answer)

    def next_turn(self) -> Request:
        return replace(
            self.request,
            prompt=(*self.request.prompt, *self.tokens),
            num_rollouts=1,
            max_new_tokens=self.request.max_new_tokens - len(self.tokens),
            first_rollout=self.request.first_rollout + self.number,
            first_position=len(self.tokens),
        )

    def rollout(self) -> Rollout:
        return Rollout(tuple(self.tokens), tuple(self.logprobs), self.is_over, bytes(self.mask))


@dataclass(frozen=True)
class Conduct:
    """How the episodes of one run go."""

    environment: Episodic
    manner: Manner
    most_turns: int

    def play(
        self,
        generate: Generate,
        requests: Sequence[Request],
        split: str,
        on_progress: Callable[[int], None] = _unheard,
    ) -> list[tuple[Rollout, ...]]:
        """An episode for each rollout of each request, whose keys are numbers of tasks.

        In rounds: the next turns of all open episodes are one batch. `on_progress`: see `Engine.generate`.
        """

        def beyond(before: int) -> Callable[[int], None]:
            return lambda tokens: on_progress(before + tokens)

        groups = [self._begun(request, split) for request in requests]
        for lines, turns in zip(groups, generate(requests, on_progress), strict=True):
            for line, turn in zip(lines, turns, strict=True):
                line.take(turn)
        everybody = [line for lines in groups for line in lines]
        sampled = sum(len(line.tokens) for line in everybody)
        playing = [line for line in everybody if self._goes_on(line)]
        while playing:
            turns_of_all = generate([line.next_turn() for line in playing], beyond(sampled))
            for line, (turn,) in zip(playing, turns_of_all, strict=True):
                line.take(turn)
                sampled += len(turn.tokens)
            playing = [line for line in playing if self._goes_on(line)]
        return [tuple(line.rollout() for line in lines) for lines in groups]

    def turns(self, rollout: Rollout) -> list[Turn]:
        """What the model said, turn by turn."""
        return [self.manner.read(rollout.tokens[a:b]) for a, b in turns_of(rollout.sampled or b"")]

    def told(self, task: Task, turns: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], bytes]:
        """Turns that somebody else made, with the answers between them: tokens and mask."""
        tokens, mask, said = [], bytearray(), list[Turn]()
        for turn in turns:
            said.append(self.manner.read(turn))
            answer = self.environment.reply(task, said) if len(said) < len(turns) else None
            written = self.manner.answered(answer, bool(said[-1].calls)) if answer else ()
            tokens += [*turn, *written]
            mask += bytes([SAMPLED]) * len(turn) + bytes([WRITTEN]) * len(written)
        return tuple(tokens), bytes(mask)

    def upholds(self, split: str, index: int, rollout: Rollout, limit: int) -> bool:
        """Whether the environment wrote all that the model did not sample, and the episode ended when it had to.

        limit: tokens that the episode could have.
        """
        task, said = self.environment.task(split, index), list[Turn]()
        ends = turns_of(rollout.sampled or b"")
        for number, (start, end) in enumerate(ends):
            said.append(self.manner.read(rollout.tokens[start:end]))
            step = self._after(task, said, rollout.tokens[end - 1], limit - end)
            is_last = number + 1 == len(ends)
            following = (
                rollout.tokens[end:] if is_last else rollout.tokens[end : ends[number + 1][0]]
            )
            if tuple(following) != step.answer:
                return False
            if is_last and rollout.finished != step.is_over:
                return False
        return bool(ends)

    def _begun(self, request: Request, split: str) -> list[_Line]:
        task = self.environment.task(split, int(request.key))
        return [_Line(request, task, number) for number in range(request.num_rollouts)]

    def _goes_on(self, line: _Line) -> bool:
        """Take note of the turn that was added, and answer it."""
        start, end = turns_of(bytes(line.mask))[-1]
        line.turns.append(self.manner.read(line.tokens[start:end]))
        left = line.request.max_new_tokens - end
        step = self._after(line.task, line.turns, line.tokens[-1], left)
        line.is_over = step.is_over
        line.answered(step.answer)
        return bool(step.answer)

    def _after(self, task: Task, turns: Sequence[Turn], last: int, left: int) -> Step:
        """What follows a turn that ended with the token `last`, when there is room for `left` more."""
        if last not in self.manner.tokenizer.stop_ids:
            return CUT
        texts = self.environment.reply(task, turns)
        if texts is None:
            return Step(is_over=True)
        if len(turns) >= self.most_turns:
            return CUT
        try:
            answer = self.manner.answered(texts, bool(turns[-1].calls))
        except (InvalidChat, UnknownText):
            return CUT
        return Step(answer) if 0 < len(answer) < left else CUT


def void(rollout: Rollout) -> Rollout:
    """The same tokens with none that counts: nothing is learned from them."""
    return replace(rollout, sampled=bytes(len(rollout.tokens)), finished=False)


def is_void(rollout: Rollout) -> bool:
    """Whether no token of it counts."""
    return rollout.sampled is not None and SAMPLED not in rollout.sampled


def conduct_of(recipe: Recipe, environment: Environment, tokenizer: Tokenizer) -> Conduct | None:
    """How a recipe's episodes go; None: its tasks take one turn.

    Raises:
        InvalidChat: the model's chat template does not do for it.
    """
    terms = episode_terms(recipe)
    return None if terms is None else conduct_by(terms, environment, tokenizer)


def conduct_by(terms: EpisodeTerms, environment: Environment, tokenizer: Tokenizer) -> Conduct:
    """The same from the terms that nodes are given.

    Raises:
        InvalidChat: the model's chat template does not do for it.
        InvalidEnvironment: these are other rules than this software has.
    """
    if not isinstance(environment, Episodic) or terms.environment not in PLAYED.values():
        raise InvalidEnvironment(
            f"{terms.environment} are no rules of this version of archipel, which plays "
            f"{', '.join(PLAYED.values())}; install the version that the run was opened with"
        )
    chats = uses_chat(tokenizer, PromptSection(chat_template=terms.chat_template))
    form = format_for(tokenizer, chats, terms.tools)
    return Conduct(environment, Manner(tokenizer, chats, form, environment.tools), terms.turns)
