"""From a group's number to what is sampled, and from what was sampled to what is graded.

The central loop and the distributed run both go through these functions, which is why they can be
bitwise equal: which task a group has, its noise and its limits follow from (recipe, group index).
Law: nothing here depends on who samples, or when.
"""

from collections.abc import Sequence
from datetime import datetime

from archipel.model.chat import InvalidChat
from archipel.model.dialogue import chat_ids
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import PromptSection, Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.records.seeds import group_seed
from archipel.training.environments.task import Environment
from archipel.training.grading import Submission

SPLIT = "train"


AS_IN_CHAT = PromptSection()
"""What a recipe without a `prompt` section asks for."""


def prompt_ids(
    tokenizer: Tokenizer, text: str, form: PromptSection = AS_IN_CHAT
) -> tuple[int, ...]:
    """What the model is given for a task's text: a turn of its chat template, or the text itself as the
    tokenizer frames it. Control tokens written in the text stay text.

    Raises:
        InvalidChat: the form needs a chat template and there is none, or it cannot render the text.
        UnknownText: the vocabulary has no ids for some character.
    """
    if not uses_chat(tokenizer, form):
        return tuple(tokenizer.encode_prompt(text))
    messages = [{"role": "user", "content": text}]
    if form.system is not None:
        messages.insert(0, {"role": "system", "content": form.system})
    now = None if form.date is None else datetime.fromisoformat(form.date)
    try:
        return tuple(chat_ids(tokenizer, messages, now=now))
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
    return Request(
        key=str(index),
        prompt=prompt_ids(tokenizer, environment.task(SPLIT, index).prompt, recipe.prompt),
        seed=group_seed(recipe.run.seed, index),
        num_rollouts=recipe.run.group_size,
        max_new_tokens=recipe.sampling.max_new_tokens,
        temperature=recipe.sampling.temperature,
        stop_tokens=stop_ids(tokenizer),
        cut=recipe.sampling.cut,
    )


def submissions(index: int, rollouts: Sequence[Rollout], tokenizer: Tokenizer) -> list[Submission]:
    """What the grader is shown of group `index`: text for the grader alone, never for training."""
    return [
        Submission(SPLIT, index, tokenizer.decode(each.tokens), each.finished) for each in rollouts
    ]
