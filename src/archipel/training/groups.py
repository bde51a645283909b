"""From a group's number to what is sampled, and from what was sampled to what is graded.

The central loop and the distributed run both go through these functions, which is why they can be
bitwise equal: which task a group has, its noise and its limits follow from (recipe, group index).
Law: nothing here depends on who samples, or when.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archipel.model.chat import InvalidChat
from archipel.model.dialogue import chat_ids
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import PromptSection, Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.records.seeds import group_seed
from archipel.training.environments.episodic import Turn
from archipel.training.environments.task import Environment, Task
from archipel.training.grading import Submission
from archipel.training.manner import day_of, format_for, opening, schemas
from archipel.training.wording import Wording, text_of, wording_of_recipe

SPLIT = "train"


AS_IN_CHAT = PromptSection()
"""What a recipe without a `prompt` section asks for."""


def task_ids(
    recipe: Recipe, environment: Environment, tokenizer: Tokenizer, task: Task
) -> tuple[int, ...]:
    """What the model is given for a task: `prompt_ids` of its text, with the environment's tools if it has some.

    Raises: as `prompt_ids`.
    """
    tools = getattr(environment, "tools", ())
    if recipe.episode is None or not tools:
        return prompt_ids(tokenizer, task.prompt, recipe.prompt)
    form = format_for(tokenizer, uses_chat(tokenizer, recipe.prompt), recipe.episode.tools)
    return prompt_ids(tokenizer, task.prompt, recipe.prompt, schemas(form, tools))


def prompt_ids(
    tokenizer: Tokenizer,
    text: str,
    form: PromptSection = AS_IN_CHAT,
    tools: Sequence[Mapping[str, Any]] = (),
) -> tuple[int, ...]:
    """What the model is given for a task's text: a turn of its chat template, or the text itself as the
    tokenizer frames it. Control tokens written in the text stay text. `tools`: JSON schemas for the template.

    Raises:
        InvalidChat: the form needs a chat template and there is none, or it cannot render the text.
        UnknownText: the vocabulary has no ids for some character.
    """
    if not uses_chat(tokenizer, form):
        return tuple(tokenizer.encode_prompt(text))
    try:
        return tuple(chat_ids(tokenizer, opening(text, form), now=day_of(form), tools=tools))
    except InvalidChat as error:
        raise InvalidChat(
            f'{error}; the recipe\'s [prompt] can give system, date, or chat_template = "never"'
        ) from None


def uses_chat(tokenizer: Tokenizer, form: PromptSection) -> bool:
    """Whether tasks go through the model's chat template.

    Raises:
        InvalidChat: the form needs a chat template and the model has none.
    """
    has_template = bool(tokenizer.chat_template)
    if not has_template and (form.chat_template == "always" or form.system is not None):
        raise InvalidChat(
            "the recipe's [prompt] needs a chat template and the model has none; "
            "add chat_template.jinja to its directory or change [prompt]"
        )
    return has_template and form.chat_template != "never"


def answer_ids(
    tokenizer: Tokenizer, text: str, form: PromptSection = AS_IN_CHAT
) -> tuple[int, ...]:
    """What the model is taught to answer: the text, without blanks around it in a chat, and one end token.

    Raises:
        UnknownText: the vocabulary has no ids for some character.
    """
    plain = text.strip() if uses_chat(tokenizer, form) else text
    stops = tokenizer.stop_ids
    end = (tokenizer.eos_id,) if tokenizer.eos_id in stops else stops[:1]
    return (*tokenizer.encode(plain, parse_special=False), *end)


def stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end a completion: all that the model's directory names."""
    return tokenizer.stop_ids


def group_request(
    recipe: Recipe, environment: Environment, tokenizer: Tokenizer, index: int
) -> Request:
    """What to sample for group `index` of a run."""
    request = Request(
        key=str(index),
        prompt=task_ids(recipe, environment, tokenizer, environment.task(SPLIT, index)),
        seed=group_seed(recipe.run.seed, index),
        num_rollouts=recipe.run.group_size,
        max_new_tokens=recipe.sampling.max_new_tokens,
        temperature=recipe.sampling.temperature,
        stop_tokens=stop_ids(tokenizer),
        cut=recipe.sampling.cut,
        tells_experts=recipe.sampling.replays_routing,
    )
    wording = wording_of_recipe(recipe, tokenizer)
    return request if wording is None else wording.on(request)


TurnsOf = Callable[[Rollout], Sequence[Turn]]
"""Reads an episode."""


def submissions(
    index: int,
    rollouts: Sequence[Rollout],
    tokenizer: Tokenizer,
    turns_of: TurnsOf | None = None,
    split: str = SPLIT,
    wording: Wording | None = None,
) -> list[Submission]:
    """What the grader is shown of group `index`: text for the grader alone, never for training.

    turns_of: where rollouts are episodes, how they are read. wording: which words end a completion, if some do.
    """
    found = []
    for each in rollouts:
        if turns_of is None:
            text = text_of(tokenizer, each, wording)
            found.append(Submission(split, index, text, each.finished))
        else:
            turns = tuple(turns_of(each))
            found.append(Submission(split, index, turns[-1].text, each.finished, turns=turns))
    return found
