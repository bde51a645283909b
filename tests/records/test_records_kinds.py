"""What each kind of work needs, what its answer is made of, and which bytes it names."""

from typing import Any

import pytest

from archipel.records.fields import BlobRef
from archipel.records.kinds import STRANGERS, TRUSTED, TRUSTED_ROLE, WORDS, WORDS_OF
from archipel.records.kinds.audit import AuditSpec
from archipel.records.kinds.evaluate import EvaluateSpec
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.kinds.update import PromptBatch, UpdateAnswer, UpdateSpec
from archipel.records.words import Memory, Needs, SavedMemory, Told, one_of
from people import ref
from specimens import ANSWERS, DIFFERENCE, SPECS

POLICY = ref(b"weights").digest


def told(values: dict[str, Any], **blobs: BlobRef) -> Told:
    return Told(values=values, blobs=blobs, busy_ms=7)


def test_kinds_stand_in_the_order_of_urgency_and_trust_divides_them() -> None:
    assert [words.name for words in WORDS] == [
        "update", "merge", "evaluate", "audit", "adapt", "sample", "rollout", "inner_step",
    ]  # fmt: skip
    assert frozenset({"update", "merge", "evaluate"}) == TRUSTED
    assert STRANGERS == ("audit", "adapt", "sample", "rollout", "inner_step")
    assert TRUSTED_ROLE == ("update", "merge", "evaluate", "audit")
    assert {name: words.name for name, words in WORDS_OF.items()} == {n: n for n in WORDS_OF}


def test_a_rollout_needs_its_weights_and_prompts_and_nothing_that_is_secret() -> None:
    spec = SPECS["rollout"]
    assert isinstance(spec, RolloutSpec)
    assert WORDS_OF["rollout"].needs(spec) == Needs(weights=3, blobs=spec.prompts)
    assert not WORDS_OF["rollout"].needs(spec).recipe


def test_an_evaluation_needs_its_weights_and_the_recipe() -> None:
    assert WORDS_OF["evaluate"].needs(SPECS["evaluate"]) == Needs(weights=4, recipe=True)


def test_an_audit_needs_weights_what_the_answer_was_made_from_and_the_answer_but_no_secret() -> (
    None
):
    spec = SPECS["audit"]
    assert isinstance(spec, AuditSpec)
    needs = WORDS_OF["audit"].needs(spec)
    assert needs == Needs(weights=3, blobs=spec.blobs, inputs=spec.inputs)
    assert not needs.recipe


@pytest.mark.parametrize(
    "words",
    [
        {"says": "agree", "difference": DIFFERENCE.model_dump()},
        {"says": "differs"},
        {"says": "cannot"},
        {"says": "cannot", "cannot": "weights", "difference": DIFFERENCE.model_dump()},
        {"says": "perhaps"},
        {"says": "cannot", "cannot": "no time"},
    ],
)
def test_an_auditor_says_one_thing_and_what_belongs_to_it(words: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"audit|says|cannot"):
        WORDS_OF["audit"].answer_of(SPECS["audit"], told({"positions": 3} | words))


def test_an_update_needs_the_recipe_its_inputs_and_the_memory_of_the_version_before() -> None:
    spec = SPECS["update"]
    assert isinstance(spec, UpdateSpec)
    needs = WORDS_OF["update"].needs(spec)
    memory = Memory(version=3, checkpoint=ref(b"memory"), checkpoint_version=3, policy=spec.parent)
    assert spec.parent is not None
    assert needs == Needs(recipe=True, inputs=spec.inputs, memory=memory)
    first = UpdateSpec(run="run", version=0, parent=None, inputs=None, memory=None)
    begun = Memory(version=-1, checkpoint=None, checkpoint_version=-1)
    assert WORDS_OF["update"].needs(first) == Needs(recipe=True, memory=begun)
    older = spec.model_copy(update={"memory": SavedMemory(version=1, blob=ref(b"m"))})
    found = WORDS_OF["update"].needs(older).memory
    assert found is not None
    assert (found.version, found.checkpoint_version) == (3, 1)


def test_a_child_s_words_become_the_answer_of_its_kind() -> None:
    words = told({"policy": POLICY, "num_tokens": 5}, rollouts=ref(b"r"))
    answer = WORDS_OF["rollout"].answer_of(SPECS["rollout"], words)
    assert (answer.policy, answer.result, answer.num_tokens, answer.busy_ms) == (
        POLICY, ref(b"r"), 5, 7,
    )  # fmt: skip
    words = told({"policy": POLICY, "metrics": {"a": 1}}, report=ref(b"report"))
    answer = WORDS_OF["evaluate"].answer_of(SPECS["evaluate"], words)
    assert isinstance(SPECS["evaluate"], EvaluateSpec)
    assert (answer.version, answer.policy, answer.report) == (4, POLICY, ref(b"report"))
    assert answer.metrics == {"a": 1}


def test_an_update_s_files_become_its_weights_memory_and_prompts_in_order_of_their_batch() -> None:
    blobs = {f"prompts-{n}": ref(str(n).encode()) for n in (10, 9, 2)}
    whole = {"manifest": ref(b"m"), "anchor": ref(b"a"), "delta": ref(b"d"), "memory": ref(b"s")}
    words = told({"policy": POLICY, "metrics": {}}, **blobs, **whole)
    answer = WORDS_OF["update"].answer_of(SPECS["update"], words)
    assert answer.prompts == tuple(
        PromptBatch(batch=n, blob=ref(str(n).encode())) for n in (2, 9, 10)
    )
    assert (answer.version, answer.parent) == (4, POLICY)
    assert (answer.manifest, answer.anchor, answer.delta, answer.memory) == tuple(whole.values())
    bare = told({"policy": POLICY, "metrics": {}}, manifest=ref(b"m"))
    answer = WORDS_OF["update"].answer_of(SPECS["update"], bare)
    assert (answer.anchor, answer.delta, answer.memory, answer.prompts) == (None, None, None, ())


@pytest.mark.parametrize("kind", WORDS_OF)
def test_a_child_that_left_something_out_has_no_answer(kind: str) -> None:
    with pytest.raises(KeyError):
        WORDS_OF[kind].answer_of(SPECS[kind], told({}))


def test_the_bytes_that_an_answer_names_are_all_of_them() -> None:
    update = ANSWERS["update"]
    assert isinstance(update, UpdateAnswer)
    assert WORDS_OF["rollout"].blobs(ANSWERS["rollout"]) == (ref(b"r"),)
    assert WORDS_OF["evaluate"].blobs(ANSWERS["evaluate"]) == (ref(b"report"),)
    assert WORDS_OF["update"].blobs(update) == (ref(b"manifest"), ref(b"delta"), ref(b"prompts"))
    every = {"anchor": ref(b"a"), "delta": ref(b"d"), "memory": ref(b"s")}
    assert WORDS_OF["update"].blobs(update.model_copy(update=every)) == (
        ref(b"manifest"), *every.values(), ref(b"prompts"),
    )  # fmt: skip


def test_a_union_of_one_type_is_that_type() -> None:
    assert one_of((RolloutSpec,), by="kind") is RolloutSpec
