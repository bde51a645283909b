"""From a group's number to what is sampled, and from what was sampled to what is graded.

The central loop and the distributed run both go through these functions, which is why they can be
bitwise equal: which task a group has, its noise and its limits follow from (recipe, group index).
Law: nothing here depends on who samples, or when.
"""

from collections.abc import Sequence

from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.records.seeds import group_seed
from archipel.training.environments.task import Environment
from archipel.training.grading import Submission

SPLIT = "train"


def prompt_ids(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """The text's ids after the begin-of-sequence id, if the vocabulary has one."""
    begin = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
    return (*begin, *tokenizer.encode(text))


def stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end a completion."""
    return () if tokenizer.eos_id is None else (tokenizer.eos_id,)


def group_request(
    recipe: Recipe, environment: Environment, tokenizer: Tokenizer, index: int
) -> Request:
    """What to sample for group `index` of a run."""
    return Request(
        key=str(index),
        prompt=prompt_ids(tokenizer, environment.task(SPLIT, index).prompt),
        seed=group_seed(recipe.run.seed, index),
        num_rollouts=recipe.run.group_size,
        max_new_tokens=recipe.sampling.max_new_tokens,
        temperature=recipe.sampling.temperature,
        stop_tokens=stop_ids(tokenizer),
    )


def submissions(index: int, rollouts: Sequence[Rollout], tokenizer: Tokenizer) -> list[Submission]:
    """What the grader is shown of group `index`: text for the grader alone, never for training."""
    return [
        Submission(SPLIT, index, tokenizer.decode(each.tokens), each.finished) for each in rollouts
    ]
