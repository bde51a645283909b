"""How a task's text becomes a prompt: one form for the supervised stage, training and evaluation."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from archipel.model.chat import InvalidChat
from archipel.model.tokenizer import byte_tokenizer
from archipel.records.recipe import PromptSection, Recipe, parse_recipe, recipe_from_canonical
from archipel.training.environments.secret_order import SecretOrder
from archipel.training.groups import answer_ids, group_request, prompt_ids
from archipel.training.sft import environment_examples
from training.tiny_learner import tiny_recipe

TEMPLATE = (
    "{{ bos_token }}{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
PLAIN = byte_tokenizer()
CHAT = PLAIN.with_chat_template(TEMPLATE)


def text_of(ids: tuple[int, ...]) -> str:
    assert ids[0] == PLAIN.bos_id
    assert not {0, 1, 2} & set(ids[1:])
    return PLAIN.decode(ids)


def test_the_models_own_template_is_the_default() -> None:
    assert text_of(prompt_ids(PLAIN, "2+2 <eos>")) == "2+2 <eos>"
    assert text_of(prompt_ids(CHAT, "2+2 <eos>")) == "[user]2+2 <eos>[assistant]"
    never = PromptSection(chat_template="never")
    assert prompt_ids(CHAT, "2+2", never) == prompt_ids(PLAIN, "2+2")


def test_system_and_date_are_the_recipes() -> None:
    form = PromptSection(system="be <bos>brief", date="2031-02-03")
    assert text_of(prompt_ids(CHAT, "2+2", form)) == "2031[system]be <bos>brief[user]2+2[assistant]"
    for needy in (PromptSection(system="x"), PromptSection(chat_template="always")):
        with pytest.raises(InvalidChat, match=r"\[prompt\]"):
            prompt_ids(PLAIN, "2+2", needy)
    demanding = PLAIN.with_chat_template("{{ strftime_now('%Y') }}")
    with pytest.raises(InvalidChat, match=r"asks for the date.*\[prompt\]"):
        prompt_ids(demanding, "2+2")
    dated = demanding.with_chat_template("{{ bos_token }}{{ strftime_now('%Y') }}")
    assert text_of(prompt_ids(dated, "2+2", form)) == "2031"


def test_answers_end_once_and_hold_no_other_control_token() -> None:
    assert answer_ids(PLAIN, " a<eos>b") == (*PLAIN.encode(" a<eos>b", parse_special=False), 2)
    assert answer_ids(CHAT, " a ") == (*PLAIN.encode("a"), 2)
    assert answer_ids(CHAT, " a ", PromptSection(chat_template="never"))[-2:] == (
        *PLAIN.encode(" "),
        2,
    )


def test_a_run_its_supervised_stage_and_its_groups_follow_the_recipe() -> None:
    environment = SecretOrder({"length": 3}, 5, b"secret")
    for section in ({}, {"chat_template": "never"}, {"system": "s"}):
        recipe = tiny_recipe(prompt=section)
        prompt, _ = environment_examples(environment, CHAT, recipe.prompt)(0)
        supervised = environment.supervised(0)
        assert supervised is not None
        assert prompt == prompt_ids(CHAT, supervised[0], recipe.prompt)
        request = group_request(recipe, environment, CHAT, 3)
        assert request.prompt == prompt_ids(
            CHAT, environment.task("train", 3).prompt, recipe.prompt
        )


@pytest.mark.parametrize(
    "section",
    [
        {"chat_template": "sometimes"},
        {"chat_template": "never", "system": "x"},
        {"date": "2031-13-03"},
        {"date": "today"},
        {"sytem": "x"},
    ],
)
def test_a_form_that_cannot_be_meant_is_refused(section: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        PromptSection.model_validate(section)


def test_recipes_that_say_nothing_of_prompts_keep_their_digests(tmp_path: Path) -> None:
    plain = '[run]\nname = "x"\nversions = 3\n[environment]\nname = "secret_order"\n'
    silent = parse_recipe(plain)
    assert b"prompt" not in silent.canonical_bytes()
    assert silent.digest == parse_recipe(plain + "[prompt]\n").digest
    said = parse_recipe(plain + '[prompt]\nsystem = "be brief"\n')
    assert said.digest != silent.digest
    for recipe in (silent, said):
        again: Recipe = recipe_from_canonical(recipe.canonical_bytes())
        assert again == recipe.by_variant(None)
        assert again.digest == recipe.digest
