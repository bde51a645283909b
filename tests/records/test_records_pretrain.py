"""Pretraining in records: a recipe as what members are told, in integers; words of inner steps and merges."""

from typing import Any

import pytest
from pydantic import ValidationError

from archipel.records.kinds import WORDS_OF
from archipel.records.kinds.merge import MergeAnswer, MergeSpec, Verdict
from archipel.records.programmes import any_from_canonical, parse_any, pretrain
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.terms import Terms, Vocabulary
from archipel.records.words import Memory, Needs, SavedMemory, Told
from outer import GATE, OUTER_PACE, outer_pace
from people import ref
from specimens import ANSWERS, POLICY, SPECS

RECIPE = """
[run]
name = "p"
programme = "pretrain"
versions = 7
members = 5
seed = 11
checkpoint_every = 13
keep_versions = 17
[corpus]
path = "text"
sequence_length = 19
batch = 23
epochs = 2
[inner]
optimiser = "muon"
learning_rate = 4e-3
rest_factor = 0.25
steps = 29
min_steps = 4
warmup_steps = 3
weight_decay = 0.05
commit_every = 5
state = "fresh"
[exchange]
codec = "top_k"
kept = 32
[outer]
optimiser = "sgd"
learning_rate = 0.4
momentum = 0.0
[merge]
faulty = 1
quorum = 4
deadline_mads = 2.5
late = "use"
loss_gate = true
gate_path = "held-out"
gate_secret = "gate"
[evaluation]
every = 3
[lease]
min_deadline_s = 1.5
slack = 2.5
merge_deadline_s = 29.25
price_micro = 37
"""
FILES = (ref(b"manifest"), ref(b"shard 0"), ref(b"shard 1"))
GIVEN = Vocabulary(64, (2,), payload_bytes=101, corpus=FILES)


def test_a_recipe_s_terms_and_pace_are_what_it_says_in_the_lab_s_units() -> None:
    recipe = parse_any(RECIPE)
    assert any_from_canonical(recipe.canonical_bytes()) == recipe
    assert pretrain.WORDS.terms_of(recipe) == Terms(  # type: ignore[arg-type]  # of this programme
        versions=7,
        evaluate_every=3,
        checkpoint_every=13,
        keep_versions=17,
        trusted_deadline_ms=29_250,
    )
    pace = pretrain.WORDS.pace_of(recipe, GIVEN)  # type: ignore[arg-type]  # of this programme
    assert (pace.members, pace.seed, pace.steps, pace.min_steps) == (5, 11, 29, 4)
    assert (pace.min_deadline_ms, pace.slack_milli, pace.price_micro) == (1500, 2500, 37)
    assert pace.named_blobs == FILES
    assert pace.tokens_per_step == 19 * 23
    assert (pace.commitments_of(29), pace.commitments_of(5), pace.commitments_of(6)) == (6, 1, 2)
    inner = pace.inner
    assert (inner.learning_rate_nano, inner.rest_factor_micro) == (4_000_000, 250_000)
    assert (inner.weight_decay_micro, inner.state, inner.optimiser) == (50_000, "fresh", "muon")
    assert pace.payload.model_dump() == {
        "codec": "top_k", "size": 101, "kept": 32, "feedback_micro": 950_000,
    }  # fmt: skip
    assert pace.payload_bytes == 101
    assert (pace.outer.learning_rate_micro, pace.outer.momentum_micro) == (400_000, 0)
    merge = pace.merge
    assert (merge.quorum, merge.faulty, merge.deadline_milli, merge.late) == (4, 1, 2500, "use")
    assert merge.gate is not None
    assert (merge.gate.sequences, merge.gate.share_micro, merge.gate.step_micro) == (
        16, 250_000, 1_000_000,
    )  # fmt: skip
    assert recipe.secret_name == "gate"
    assert recipe.data_paths == ("text", "held-out")


def test_what_is_not_said_is_all_members_all_steps_and_nothing_carried_over() -> None:
    plain = '[run]\nname = "p"\nprogramme = "pretrain"\nversions = 1\n[corpus]\npath = "t"\n'
    recipe = parse_any(plain)
    pace = pretrain.WORDS.pace_of(recipe, GIVEN)  # type: ignore[arg-type]  # of this programme
    assert (pace.merge.quorum, pace.min_steps) == (pace.members, pace.steps)
    assert (pace.payload.kept, pace.payload.feedback_micro, pace.merge.gate) == (None, None, None)
    assert "kept" not in pace.payload.model_dump()
    assert pace.needs is None


def test_a_rate_is_what_a_record_can_say_of_it() -> None:
    recipe = parse_any(RECIPE.replace("4e-3", "0.00400000000049"))
    assert recipe == parse_any(RECIPE)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('programme = "pretrain"\n', "", "unknown key"),
        ("[lease]", "[market]\n[lease]", r"\[market\] is not for pretraining"),
        (
            "[lease]",
            "[audit]\n[lease]",
            r"\[audit\] needs inner.state = .fresh. and exchange.error_feedback = 0",
        ),
        ("[lease]", '[model]\nbackend = "transformers"\n[lease]', "not trained across sites"),
        ("[lease]", "[model]\nnum_kv_heads = 3\n[lease]", "not a multiple"),
        ("quorum = 4", "quorum = 6", "is more than run.members = 5"),
        ("faulty = 1", 'faulty = 1\naggregate = "multi_krum"', "needs 6 contributions"),
        ("faulty = 1", 'faulty = 1\naggregate = "median"', "most of them did not send it"),
        ("faulty = 1", 'faulty = 1\naggregate = "centred_clip"', "take mean or multi_krum"),
        ("faulty = 1", "faulty = 4", "needs 5 contributions"),
        ("min_steps = 4", "min_steps = 30", "above steps = 29"),
        ("min_steps = 4", "min_steps = 3", "less than 1/8 of steps"),
        ("commit_every = 5", "commit_every = 0", "greater than or equal to 1"),
        ('gate_secret = "gate"', "", "expected both with loss_gate = true"),
        ("loss_gate = true", "", "neither otherwise"),
        ("momentum = 0.0", "momentum = 1.0", "less than or equal to 0.999"),
        ("commit_every = 5", "commit_every = 5\nbeta1 = 1.0", "less than or equal to 0.999999"),
        ("commit_every = 5", "commit_every = 5\nbeta2 = 1.0", "less than or equal to 0.999999"),
        ("learning_rate = 4e-3", "learning_rate = 0.0", "greater than or equal to 0.000000001"),
    ],
)
def test_a_recipe_whose_parts_do_not_fit_is_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(InvalidRecipe, match=said):
        parse_any(RECIPE.replace(old, new, 1))


def test_too_many_states_are_not_committed_to() -> None:
    text = RECIPE.replace("steps = 29\nmin_steps = 4", "steps = 1000").replace(
        "commit_every = 5", "commit_every = 15"
    )
    with pytest.raises(InvalidRecipe, match="commits to 67 states in 1000 steps; at most 64"):
        parse_any(text)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Vocabulary(64, (2,), payload_bytes=101), "the corpus at text was not read"),
        (Vocabulary(64, (2,), corpus=FILES), "nobody counted the bytes"),
    ],
)
def test_a_run_opens_where_its_text_and_its_weights_are_known(given: Vocabulary, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pretrain.WORDS.pace_of(parse_any(RECIPE), given)  # type: ignore[arg-type]  # of this programme


def test_another_text_than_the_recipe_names_is_refused() -> None:
    named = parse_any(RECIPE.replace('"text"', f'"text"\ndigest = "{ref(b"other").digest}"'))
    with pytest.raises(ValueError, match="the recipe names"):
        pretrain.WORDS.pace_of(named, GIVEN)  # type: ignore[arg-type]  # of this programme


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_steps": 11},
        {"quorum": 4},
        {"steps": 257, "commit_every": 4},
        {"members": 0},
        {"members": 129},
        {"anything": 1},
    ],
)
def test_a_pace_that_contradicts_itself_is_no_record(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, TypeError)):
        PretrainPace.model_validate(outer_pace(**wrong).model_dump())


def test_a_pace_comes_back_from_its_record() -> None:
    pace = outer_pace(gate=GATE)
    assert PretrainPace.model_validate_json(pace.model_dump_json()) == pace
    assert pace.steps == OUTER_PACE["steps"]


def test_an_inner_step_needs_its_weights_and_its_text_and_nothing_that_is_secret() -> None:
    needs = WORDS_OF["inner_step"].needs(SPECS["inner_step"])
    assert needs == Needs(weights=3, blobs=(ref(b"text"),))


def test_a_merge_needs_the_recipe_its_contributions_and_the_memory_of_the_version_before() -> None:
    spec = SPECS["merge"]
    assert isinstance(spec, MergeSpec)
    assert spec.parent is not None
    needs = WORDS_OF["merge"].needs(spec)
    memory = Memory(version=3, checkpoint=ref(b"memory"), checkpoint_version=3, policy=spec.parent)
    assert needs == Needs(recipe=True, inputs=ref(b"inputs").digest, memory=memory)
    first = MergeSpec(run="run", version=0, parent=None, inputs=None, memory=None)
    begun = Memory(version=-1, checkpoint=None, checkpoint_version=-1)
    assert WORDS_OF["merge"].needs(first) == Needs(recipe=True, memory=begun)
    assert SavedMemory(version=3, blob=ref(b"memory")) == spec.memory


def test_a_child_s_words_become_a_contribution_or_a_merge() -> None:
    values = {
        "policy": POLICY, "steps": 20, "num_tokens": 5, "metrics": {"loss_micro": 1},
        "commitments": [POLICY, POLICY],
    }  # fmt: skip
    told = Told(values=values, blobs={"payload": ref(b"p")}, busy_ms=7)
    answer = WORDS_OF["inner_step"].answer_of(SPECS["inner_step"], told)
    assert (answer.steps, answer.payload, answer.busy_ms) == (20, ref(b"p"), 7)
    assert answer.commitments == (POLICY, POLICY)
    assert answer.machine is None
    on = told.values | {"machine": "cpu, one thread"}
    told = Told(values=on, blobs=told.blobs, busy_ms=7)
    assert WORDS_OF["inner_step"].answer_of(SPECS["inner_step"], told).machine == on["machine"]
    assert WORDS_OF["inner_step"].blobs(answer) == (ref(b"p"),)
    assert WORDS_OF["inner_step"].publishes(answer) is None
    verdicts = [{"work": "run.8", "weight_micro": 0, "reason": "norm"}]
    blobs = {role: ref(role.encode()) for role in ("manifest", "anchor", "memory", "gate")}
    told = Told(
        values={"policy": POLICY, "metrics": {}, "verdicts": verdicts, "next_gate": POLICY},
        blobs=blobs,
        busy_ms=7,
    )
    merged = WORDS_OF["merge"].answer_of(SPECS["merge"], told)
    assert merged.verdicts == (Verdict(work="run.8", weight_micro=0, reason="norm"),)
    assert (merged.version, merged.parent, merged.next_gate) == (4, POLICY, POLICY)
    assert set(WORDS_OF["merge"].blobs(merged)) == set(blobs.values())


def test_a_void_merge_publishes_nothing() -> None:
    merged = ANSWERS["merge"]
    assert isinstance(merged, MergeAnswer)
    published = WORDS_OF["merge"].publishes(merged)
    assert published is not None
    assert (published.version, published.policy, published.delta) == (4, POLICY, ref(b"delta"))
    assert WORDS_OF["merge"].publishes(merged.model_copy(update={"void": True})) is None


@pytest.mark.parametrize(
    "words",
    [
        {"weight_micro": 5, "reason": "loss"},
        {"weight_micro": 0},
        {"weight_micro": 0, "reason": "dislike"},
        {"weight_micro": -1},
    ],
)
def test_a_verdict_says_one_thing(words: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Verdict(work="run.8", **words)
