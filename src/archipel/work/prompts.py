"""The tasks of a run as prompts: what nodes are asked, and what the learner pairs their answers with."""

from functools import lru_cache
from pathlib import Path

from archipel.model.tokenizer import Tokenizer
from archipel.records.kinds.update import PROMPTS_ROLE
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import pack_prompts
from archipel.training.environments.task import Environment
from archipel.training.groups import group_request

MAX_KEPT = 1024
"""Requests kept: a prompt is published some versions before its answers are graded."""


class Prompts:
    """The requests of one run, by group."""

    def __init__(self, recipe: Recipe, environment: Environment, tokenizer: Tokenizer) -> None:
        self._run = recipe.run

        @lru_cache(MAX_KEPT)
        def request(index: int) -> Request:
            return group_request(recipe, environment, tokenizer, index)

        self.request = request
        """What to sample for a group."""

    def batch(self, number: int) -> range:
        """The groups of batch `number`."""
        size = self._run.groups_per_update
        return range(number * size, (number + 1) * size)

    def write(self, version: int, folder: Path) -> None:
        """The prompts that the staleness bound lets nodes reach once `version` is out, a file per batch."""
        run = self._run
        first = 0 if version == 0 else version + run.max_staleness
        for number in range(first, min(version + run.max_staleness + 1, run.versions)):
            prompts = [self.request(index).prompt for index in self.batch(number)]
            data = pack_prompts(prompts, batch=number)
            (folder / f"{PROMPTS_ROLE}{number}").write_bytes(data)
