"""A dispute ends at the one number that a liar changed, whatever it is; whoever shows other things has lost."""

import time
from dataclasses import replace

import numpy as np
import pytest

from archipel.engine.exact.dispute import settle
from archipel.engine.exact.hashing import CHUNK, DIGEST_BYTES, Tree, climbed, is_node
from archipel.engine.exact.judge import Judge
from archipel.engine.exact.parties import Ask, Hurried, TraceParty
from archipel.engine.exact.trace import BadQuestion, traced
from archipel.model.config import EXACT_FAMILIES, Family
from archipel.model.manifest import CorruptWeights, describe
from exact.dispute_cases import TWISTS, Twisted, case, lying, settled
from exact.exact_models import FEW, WORLDS, exact_engine, mixed_requests, world


def test_two_honest_parties_are_equal_after_one_look() -> None:
    judge, trace = case("llama", "w7a8")
    again = traced(*world("llama"), trace.question)
    verdict = settled(judge, TraceParty(trace), TraceParty(again))
    assert verdict.right == "equal"
    assert verdict.transcript.asks == []


def test_a_trace_ends_in_the_tokens_and_log_probabilities_of_the_record() -> None:
    for family, variant in FEW:
        config, state = world(family)
        _, trace = case(family, variant)
        question = trace.question
        request = replace(
            mixed_requests(64, (7,))[0], max_new_tokens=5, temperature=question.temperature
        )
        rollout = exact_engine(config, state, variant).generate([request])[0][1]
        assert tuple(trace.values[-1][:, 0].astype(int).tolist()) == rollout.tokens
        assert tuple(trace.values[-1][:, 1].tolist()) == rollout.logprobs


def every_step(family: Family, variant: str, *, on: bool) -> None:
    judge, trace = case(family, variant)
    shift = len(trace.question.prompt) - 1
    honest = TraceParty(trace)
    for number, step in enumerate(trace.steps):
        position = (shift, shift + 3)[number % 2] if step.late else (0, 4, shift + 2)[number % 3]
        element = (number * 37) % step.width
        liar = TraceParty(lying(trace, number, position, element, on=on))
        for right, sides in (("mine", (honest, liar)), ("theirs", (liar, honest))):
            verdict = settled(judge, *sides)
            assert verdict.right == right, (step, verdict.reason)
            assert verdict.place is not None
            told = (verdict.place.position, verdict.place.step, verdict.place.element)
            assert told == (position, str(step), element)


@pytest.mark.parametrize(("family", "variant"), FEW)
def test_a_liar_at_every_layer_and_every_kind_of_step_is_found(
    family: Family, variant: str
) -> None:
    every_step(family, variant, on=False)


@pytest.mark.slow
@pytest.mark.parametrize("on", [False, True])
@pytest.mark.parametrize(("family", "variant"), [*WORLDS, ("qwen3", "w7a15"), ("olmo2", "w7a8")])
def test_and_in_every_family_and_variant_and_if_all_that_follows_is_other(
    family: Family, variant: str, on: bool
) -> None:
    every_step(family, variant, on=on)


@pytest.mark.parametrize(("family", "variant"), FEW)
def test_the_judge_computes_every_number_as_the_engine_does(family: Family, variant: str) -> None:
    judge, trace = case(family, variant)
    rng = np.random.default_rng(1)
    for leaf in rng.permutation(judge.num_leaves)[:150].tolist():
        width = judge.width(leaf)
        if width and judge.at(leaf)[1].kind != "mixed":
            element = int(rng.integers(width))
            rows = [np.frombuffer(trace.row(need), "<f4") for need in judge.needs(leaf)]
            right = np.frombuffer(trace.row(leaf), "<f4")[element]
            assert judge.value(leaf, element, rows) == right, judge.at(leaf)


@pytest.mark.parametrize("family", EXACT_FAMILIES)
def test_who_samples_from_other_weights_is_led_to_a_product_of_theirs(family: Family) -> None:
    variant = dict(FEW)[family]
    config, state = world(family)
    judge, trace = case(family, variant)
    name = "model.layers.1.mlp.up_proj.weight"
    other = {**state, name: state[name].clone()}
    other[name][5] *= 2
    liar = TraceParty(traced(config, other, trace.question))
    verdict = settled(judge, TraceParty(trace), liar)
    assert verdict.right == "mine"
    assert verdict.place is not None
    assert (verdict.place.step, verdict.place.element) == ("layer 1 up", 5)
    assert verdict.transcript.evidence_bytes <= 4 * (config.hidden_size + 1) + 16


def test_if_both_lie_about_one_number_neither_is_right() -> None:
    judge, trace = case("llama", "w7a8")
    one = lying(trace, 9, 3, 2)
    verdict = settled(judge, TraceParty(one), TraceParty(lying(one, 9, 3, 2)))
    assert verdict.right == "neither"


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf, 1e38])
def test_numbers_on_which_both_agree_and_that_are_none_stop_no_judge(nothing: float) -> None:
    judge, trace = case("llama", "w7a8")
    for number, step in enumerate(trace.steps):
        leaf = 7 * len(trace.steps) + number
        if judge.working(leaf, 0) is not None:
            continue
        rows = [np.full(judge.width(need), nothing, np.float32) for need in judge.needs(leaf)]
        assert isinstance(judge.value(leaf, step.width - 1, rows), np.float32)


@pytest.mark.parametrize("twist", TWISTS)
@pytest.mark.parametrize("what", ["children", "row children", "chunk", "row"])
@pytest.mark.parametrize("place", [(2, 70), (4, 5), (9, 90), (11, 80)], ids=str)
def test_who_refuses_or_shows_what_it_did_not_commit_to_has_lost(
    what: str, twist: str, place: tuple[int, int]
) -> None:
    number, element = place
    judge, trace = case("llama", "w7a8")
    element %= trace.steps[number].width
    honest, liar = TraceParty(trace), TraceParty(lying(trace, number, 4, element))
    bad = Twisted(liar, what, TWISTS[twist])
    verdict = settled(judge, bad, honest)
    assert verdict.right == "theirs"
    deep = trace.steps[number].width > CHUNK
    assert bad.done or (what == "row children" and not deep) or (what == "row" and number == 4)
    if bad.done:
        assert verdict.reason.startswith("mine ")
        word = {"nothing": "did not answer", "other bytes": "commit", "other end": "commit"}
        assert word.get(twist, "gave no") in verdict.reason
    assert settled(judge, honest, Twisted(liar, what, TWISTS[twist])).right == "mine"


class Mimic:
    """Committed to lies, and shows what the honest party shows, from some kind of ask on."""

    def __init__(self, liar: TraceParty, honest: TraceParty, whats: tuple[str, ...]) -> None:
        self.question, self.root = liar.question, liar.root
        self._liar, self._honest, self._whats = liar, honest, whats

    def answer(self, ask: Ask) -> bytes | None:
        return (self._honest if ask.what in self._whats else self._liar).answer(ask)


@pytest.mark.parametrize(
    "whats", [("children", "row children", "chunk"), ("row children", "chunk"), ("chunk",)]
)
def test_the_truth_does_not_help_who_committed_to_something_else(whats: tuple[str, ...]) -> None:
    judge, trace = case("llama", "w7a8")
    honest, liar = TraceParty(trace), TraceParty(lying(trace, 2, 4, 0))
    verdict = settled(judge, Mimic(liar, honest, whats), honest)
    assert verdict.right == "theirs"
    assert verdict.reason.startswith("mine showed")
    assert settled(judge, honest, Mimic(liar, honest, whats)).right == "mine"


def test_who_delays_loses_within_the_limit() -> None:
    judge, trace = case("llama", "w7a8")

    def forever(data: bytes) -> bytes:
        time.sleep(30)
        return data

    liar = Twisted(TraceParty(lying(trace, 9, 4, 3)), "children", forever)
    before = time.monotonic()
    verdict = settled(judge, Hurried(TraceParty(trace), 10.0), Hurried(liar, 0.05))
    assert verdict.right == "mine"
    assert "did not answer" in verdict.reason
    assert time.monotonic() - before < 5


class Longer(TraceParty):
    """Committed to a row that there is none of."""

    @property
    def root(self) -> bytes:
        return self.grown.root

    @property
    def grown(self) -> Tree:
        levels = self._tree.levels[0]
        end = levels.index(bytes(DIGEST_BYTES))
        return Tree([*levels[:end], b"\x07" * DIGEST_BYTES])

    def answer(self, ask: Ask) -> bytes | None:
        if ask.what == "children":
            return self.grown.children(ask.level, ask.index)
        return super().answer(ask)


def test_who_commits_to_more_than_there_is_has_lost() -> None:
    judge, trace = case("llama", "w7a8")
    verdict = settled(judge, TraceParty(trace), Longer(trace))
    assert (verdict.right, verdict.place) == ("mine", None)
    assert "more than there is" in verdict.reason


def test_other_questions_and_other_weights_are_no_dispute() -> None:
    judge, trace = case("llama", "w7a8")
    for fields in (
        {"seed": 1}, {"rollout": 2}, {"temperature": 0.81}, {"prompt": (1, 2)}, {"tokens": (1,)},
        {"weights": "sha256:" + "0" * 64}, {"contract": "exact-1-w7a15-6dabffb7aa3972f0"},
    ):  # fmt: skip
        other = replace(trace, question=replace(trace.question, **fields))
        with pytest.raises(BadQuestion, match="different rollouts"):
            settle(TraceParty(trace), TraceParty(other), judge)
    config, state = world("llama")
    manifest = describe(state, 0, None)
    spoilt = {name: each * 2 for name, each in state.items()}
    wrong = Judge(config, spoilt, manifest, trace.question)
    with pytest.raises(CorruptWeights, match="its manifest says"):
        settle(TraceParty(trace), TraceParty(lying(trace, 9, 4, 3)), wrong)
    with pytest.raises(BadQuestion, match="these are"):
        Judge(config, state, describe(spoilt, 0, None), trace.question)
    for fields in ({"tokens": (99,)}, {"prompt": ()}, {"seed": -1}, {"prompt": (1,) * 5000}):
        with pytest.raises(BadQuestion, match="expected"):
            traced(config, state, replace(trace.question, **fields))
    with pytest.raises(BadQuestion, match="this version computes"):
        traced(config, state, replace(trace.question, contract="exact-2"))


@pytest.mark.parametrize("num", [1, 2, 3, 5, 8, 9])
def test_a_path_leads_from_each_leaf_to_the_root_and_to_nothing_else(num: int) -> None:
    leaves = [bytes([n + 1]) * DIGEST_BYTES for n in range(num)]
    tree = Tree(leaves)
    for leaf, digest in enumerate(leaves):
        path = tree.path(leaf, tree.depth)
        assert climbed(leaf, digest, path) == tree.root
        assert num == 1 or climbed(leaf ^ 1, digest, path) != tree.root
        for level in range(1, tree.depth + 1):
            children = tree.children(level, leaf >> level)
            assert is_node(tree.levels[level][leaf >> level], children)
