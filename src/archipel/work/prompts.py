"""The tasks of a run as prompts: what nodes are asked, and what the learner pairs their answers with.

Law: what a node could only fail at never reaches one. Before version 0 the run's tasks are looked at, as many
as time allows; a prompt that was not looked at and leaves no room for an answer is cut short, and what
is answered to it is worth nothing.
"""

import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from archipel.model.chat import InvalidChat
from archipel.model.tokenizer import Tokenizer, UnknownText
from archipel.records.kinds.update import PROMPTS_ROLE
from archipel.records.prompts import pack_prompts
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.training.environments.task import Environment
from archipel.training.episodes import conduct_of
from archipel.training.groups import SPLIT, group_request
from archipel.training.refill import batches_of
from archipel.training.wording import NoPieces, wording_of_recipe
from archipel.work.kind import WorkFailed

MAX_KEPT = 1024
"""Requests kept: a prompt is published some versions before its answers are graded."""
MAX_LOOKED_AT = 65_536
LOOKING_LIMIT_S = 20.0
"""An environment may need long for a task; what was seen by then has to do."""
MAX_NAMED = 3


class _Fitted(NamedTuple):
    request: Request
    num_tokens: int
    """Of the whole prompt."""


class Prompts:
    """The requests of one run, by group."""

    def __init__(
        self, recipe: Recipe, environment: Environment, tokenizer: Tokenizer, context: int
    ) -> None:
        """context: tokens of prompt and answer together that the model takes."""
        self._run = recipe.run
        self._num_tasks = recipe.run.versions * recipe.run.groups_per_update
        if recipe.curriculum is not None:
            self._num_tasks = recipe.curriculum.pool
        self._made_of = (recipe, environment, tokenizer)
        self._context, self._new = context, recipe.sampling.max_new_tokens
        self._room = context - self._new

        @lru_cache(MAX_KEPT)
        def fitted(index: int) -> _Fitted:
            request = _made(recipe, environment, tokenizer, index)
            cut = replace(request, prompt=request.prompt[: max(self._room, 1)])
            return _Fitted(cut, len(request.prompt))

        self._fitted = fitted

    def request(self, index: int) -> Request:
        """What to sample for a group."""
        return self._fitted(index).request

    def is_cut(self, index: int) -> bool:
        """Whether the group's task does not fit, so that no answer to it can be worth anything."""
        return self._fitted(index).num_tokens > self._room

    def batch(self, number: int) -> range:
        """The groups of batch `number`."""
        size = self._run.groups_per_update
        return range(number * size, (number + 1) * size)

    def look_ahead(self, limit_s: float = LOOKING_LIMIT_S) -> None:
        """Before any node is asked.

        Raises:
            WorkFailed: a task cannot be made, or prompts leave no room for an answer.
        """
        if self._room < 1:
            raise WorkFailed(
                f"sampling.max_new_tokens is {self._new}, but the model takes {self._context} tokens, "
                "prompt and answer together; lower it"
            )
        self._require_episodes()
        self._require_wording()
        end, seen, long = time.monotonic() + limit_s, 0, []
        for index in range(min(self._num_tasks, MAX_LOOKED_AT)):
            if time.monotonic() > end:
                break
            seen = index + 1
            if self.is_cut(index):
                long.append(f"that of group {index} has {self._fitted(index).num_tokens} tokens")
        if long:
            raise WorkFailed(
                f"{len(long)} of the run's first {seen} prompts do not fit: beside {self._new} new tokens the "
                f"model has room for {self._room}, but {', '.join(long[:MAX_NAMED])}; lower "
                "sampling.max_new_tokens, or leave such tasks out"
            )

    def _require_episodes(self) -> None:
        """Raises WorkFailed: the model's template does not do for episodes."""
        try:
            conduct = conduct_of(*self._made_of)
            if conduct is not None:
                conduct.manner.require_turns()
        except (InvalidChat, UnknownText) as error:
            raise WorkFailed(f"episodes of several turns: {error}") from None

    def _require_wording(self) -> None:
        """Raises WorkFailed: stop strings or allowed characters that the model's tokenizer does not do."""
        recipe, _, tokenizer = self._made_of
        try:
            wording_of_recipe(recipe, tokenizer)
        except NoPieces as error:
            raise WorkFailed(str(error)) from None

    def write_further(self, batch: int, before: int, more: int, folder: Path) -> dict[str, Path]:
        """The prompts of `more` further groups of a batch that had `before` of them, a file per block that was not
        written then; by role.
        """
        batches = batches_of(self._made_of[0])
        known = batches.blocks_of(batch, before)
        files = {}
        for number in batches.blocks_of(batch, before + more)[len(known) :]:
            files[f"{PROMPTS_ROLE}{number}"] = path = folder / f"{PROMPTS_ROLE}{number}"
            path.write_bytes(self.packed(number))
        return files

    def write(self, version: int, folder: Path) -> None:
        """The prompts that the staleness bound lets nodes reach once `version` is out, a file per batch."""
        run = self._run
        first = 0 if version == 0 else version + run.max_staleness
        for number in range(first, min(version + run.max_staleness + 1, run.versions)):
            (folder / f"{PROMPTS_ROLE}{number}").write_bytes(self.packed(number))

    def packed(self, number: int) -> bytes:
        """As they are published: the prompts of a batch, with their tasks where those who play are to be told."""
        groups = self.batch(number)
        recipe, environment, _ = self._made_of
        tasks = None
        if recipe.curriculum is not None and recipe.episode is not None:
            tasks = [environment.task(SPLIT, group).index for group in groups]
        prompts = [self.request(index).prompt for index in groups]
        return pack_prompts(prompts, batch=number, tasks=tasks)


def _made(recipe: Recipe, environment: Environment, tokenizer: Tokenizer, index: int) -> Request:
    try:
        return group_request(recipe, environment, tokenizer, index)
    except Exception as error:  # an environment is foreign code
        raise WorkFailed(
            f"the task of group {index} cannot be made: {type(error).__name__}: {error}"
        ) from error
