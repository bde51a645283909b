"""Episodes: a model and an environment by turns, played with any engine, and played again without one.

Parts: `Conduct` (how the episodes of one run go: `play`, `upholds`), `conduct_of` and `conduct_by` (from a recipe,
from the terms that nodes are given: the same), `void`. What an episode is as tokens stands in
`records.episodes`, how a model's turns are read and answered in `manner`.
Laws: what follows a turn depends on the task and on the turns so far, never on who plays or on what is played
beside it; each turn's noise is that of its positions in the whole episode.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from archipel.model.chat import InvalidChat
from archipel.model.tokenizer import Tokenizer, UnknownText
from archipel.records.episodes import SAMPLED, EpisodeTerms, playable, turns_of
from archipel.records.programmes.rl import episode_terms
from archipel.records.recipe import PromptSection, Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.environments.episodic import Episodic, Turn
from archipel.training.environments.task import Environment, InvalidEnvironment, Task
from archipel.training.groups import SPLIT, uses_chat
from archipel.training.manner import Manner, format_for
from archipel.training.rounds import CUT, Generate, Line, Step, play_rounds, unheard
from archipel.training.talk import Talk

log = logging.getLogger(__name__)
FAILED = "the environment failed in %s task %d at turn %d, where the episode is cut off: %s: %s"


@dataclass(frozen=True)
class Conduct:
    """How the episodes of one run go."""

    environment: Episodic
    manner: Manner
    most_turns: int
    is_hosted: bool = False
    """Strangers who play them ask for its answers."""
    chosen: Callable[[int], int] | None = None
    """Which task of the training part a group has; None: the one of its own number."""

    def choosing(self, chosen: Callable[[int], int] | None) -> "Conduct":
        """The same, where tasks are chosen so."""
        return replace(self, chosen=chosen)

    def play(
        self,
        generate: Generate,
        requests: Sequence[Request],
        split: str,
        on_progress: Callable[[int], None] = unheard,
    ) -> list[tuple[Rollout, ...]]:
        """An episode for each rollout of each request, whose keys are numbers of groups, or of held-out tasks; see
        `play_rounds`.
        """
        tasks = {each.key: self._task(split, int(each.key)) for each in requests}

        def answer(lines: Sequence[Line]) -> list[Step]:
            return [self._follows(tasks[line.request.key], line) for line in lines]

        return play_rounds(generate, requests, answer, on_progress)

    def after(self, split: str, index: int, turns: Sequence[Sequence[int]], left: int) -> Step:
        """What follows the last of these turns of the model in an episode of task `index`.

        left: tokens that there is room for.
        """
        task = self.environment.task(split, index)
        talk = self._begun(task)
        for turn in turns[:-1]:
            talk.hear(turn)
            if self.manner.retells and not self._told_again(task, talk):
                return CUT
        talk.hear(turns[-1])
        return self._after(task, talk, turns[-1][-1], left)

    def turns(self, rollout: Rollout) -> list[Turn]:
        """What the model said, turn by turn."""
        return [self.manner.read(rollout.tokens[a:b]) for a, b in turns_of(rollout.sampled or b"")]

    def told(self, task: Task, turns: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], bytes]:
        """Turns that somebody else made, with the answers between them: tokens and mask."""
        tokens, mask, talk = list[int](), bytearray(), self._begun(task)
        for number, turn in enumerate(turns, 1):
            talk.hear(turn)
            answer = self.environment.reply(task, talk.turns) if number < len(turns) else None
            step = _answered(talk, answer) if answer else CUT
            tokens += [*turn, *step.answer]
            mask += bytes([SAMPLED]) * len(turn) + bytes([step.mark]) * len(step.answer)
        return tuple(tokens), bytes(mask)

    def upholds(self, split: str, index: int, rollout: Rollout, limit: int) -> bool:
        """Whether the environment wrote all that the model did not sample, and the episode ended when it had to.

        index: of the group, or of a held-out task. limit: tokens that the episode could have.
        """
        task = self._task(split, index)
        mask, talk = rollout.sampled or b"", self._begun(task)
        ends = turns_of(mask)
        for number, (start, end) in enumerate(ends):
            talk.hear(rollout.tokens[start:end])
            step = self._after(task, talk, rollout.tokens[end - 1], limit - end)
            is_last = number + 1 == len(ends)
            then = len(mask) if is_last else ends[number + 1][0]
            if rollout.tokens[end:then] != step.answer or set(mask[end:then]) - {step.mark}:
                return False
            if is_last and rollout.finished != step.is_over:
                return False
        return bool(ends)

    def _task(self, split: str, group: int) -> Task:
        if self.chosen is not None and split == SPLIT:
            return self.environment.task(split, self.chosen(group))
        return self.environment.task(split, group)

    def _begun(self, task: Task) -> Talk:
        return Talk(self.manner, task.prompt)

    def _told_again(self, task: Task, talk: Talk) -> bool:
        """An earlier turn's answer, as it was given then; False: there is none."""
        try:
            texts = self.environment.reply(task, talk.turns)
            return texts is not None and bool(talk.answered(texts)[0])
        except Exception as error:
            if not self.is_hosted:
                raise
            log.warning(FAILED, *_named(task, talk.turns, error))
            return False

    def _follows(self, task: Task, line: Line) -> Step:
        line.talk = line.talk or self._begun(task)
        line.talk.hear(line.last_turn)
        return self._after(task, line.talk, line.tokens[-1], line.left)

    def _after(self, task: Task, talk: Talk, last: int, left: int) -> Step:
        """What follows a turn that ended with the token `last`, when there is room for `left` more."""
        if last not in self.manner.tokenizer.stop_ids:
            return CUT
        try:
            texts = self.environment.reply(task, talk.turns)
        except Exception as error:
            if not self.is_hosted:  # of our own, whose fault would be ours
                raise
            log.warning(FAILED, *_named(task, talk.turns, error))
            return CUT
        if texts is None:
            return Step(is_over=True)
        if len(talk.turns) >= self.most_turns:
            return CUT
        try:
            step = _answered(talk, texts)
        except (InvalidChat, UnknownText):
            return CUT
        return step if 0 < len(step.answer) < left else CUT


def _answered(talk: Talk, texts: tuple[str, ...]) -> Step:
    answer, retells = talk.answered(texts)
    return Step(answer, retells=retells)


def _named(task: Task, turns: Sequence[Turn], error: Exception) -> tuple[object, ...]:
    return task.split, task.index, len(turns), type(error).__name__, error


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
        InvalidEnvironment: the environment answers turns, and the recipe has no [episode], or the other way round.
    """
    terms = episode_terms(recipe)
    if terms is not None:
        return conduct_by(terms, environment, tokenizer)
    if isinstance(environment, Episodic):
        raise InvalidEnvironment(
            f"environment {recipe.environment.name!r} answers the model's turns here: add [episode]"
        )
    return None


def conduct_by(terms: EpisodeTerms, environment: Environment, tokenizer: Tokenizer) -> Conduct:
    """The same from the terms that nodes are given.

    Raises:
        InvalidChat: the model's chat template does not do for it.
        InvalidEnvironment: these are other rules than this software has.
    """
    if terms.environment not in playable():
        raise InvalidEnvironment(
            f"{terms.environment} are no rules of this version of archipel, which plays "
            f"{', '.join(playable())}; install the version that the run was opened with"
        )
    if not isinstance(environment, Episodic):
        raise InvalidEnvironment(
            "these tasks take one turn each: their environment answers none; remove [episode]"
        )
    chats = uses_chat(tokenizer, PromptSection(chat_template=terms.chat_template))
    form = format_for(tokenizer, chats, terms.tools)
    told = PromptSection(system=terms.system, date=terms.date) if terms.retells else None
    manner = Manner(tokenizer, chats, form, environment.tools, told)
    return Conduct(environment, manner, terms.turns, terms.is_hosted)
