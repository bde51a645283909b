"""Episodes: one sequence with a mask, the same whoever plays it beside whatever, found out where it was altered."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.model.tokenizer import character_tokenizer
from archipel.records.episodes import turns_of
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.episodes import Conduct, is_void, void
from archipel.training.manner import Manner
from archipel.training.packing import Branch, Tree, build, count_sampled, count_valid, trees_of
from archipel.training.scorer import Scorer
from archipel.training.sharding import Site
from archipel.training.trainer import Trainer
from training.parrot import Parrot
from training.tiny_learner import VOCAB, alone_logprobs, tiny_model, tiny_recipe

torch.set_num_threads(1)
TOKENIZER = replace(character_tokenizer(), end_ids=(2, *range(10, 16)))
"""One token in nine ends a turn, so that an untrained model takes several."""
LIMIT = 24
MODEL = tiny_model(3, vocab_size=64)
STATE = {name: tensor.detach().to(torch.bfloat16) for name, tensor in MODEL.named_parameters()}


def conduct(environment: Parrot, turns: int = 8) -> Conduct:
    return Conduct(environment, Manner(TOKENIZER, False, "plain", ()), turns)


def engine(slots: int = 64) -> LocalEngine:
    made = LocalEngine(MODEL.config, limits=EngineLimits(max_slots=slots))
    made.load(STATE)
    return made


def request(index: int, rollouts: int = 4, limit: int = LIMIT) -> Request:
    prompt = tuple(TOKENIZER.encode_prompt(Parrot().task("train", index).prompt))
    return Request(str(index), prompt, 77 + index, rollouts, limit, 1.3, TOKENIZER.stop_ids)


REQUESTS = [request(index) for index in range(5)]
PLAYED = conduct(Parrot()).play(engine().generate, REQUESTS, "train")


def test_an_episode_is_the_models_turns_and_the_environments_answers_in_one_sequence():
    seen = []
    for asked, group in zip(REQUESTS, PLAYED, strict=True):
        for each in group:
            assert each.sampled is not None
            assert len(each.tokens) == len(each.logprobs) == len(each.sampled) <= LIMIT
            turns = turns_of(each.sampled)
            seen.append(len(turns))
            assert each.finished == (len(turns) == 3 and each.tokens[-1] in TOKENIZER.stop_ids)
            for (_, end), (start, _) in itertools.pairwise(turns):
                said = TOKENIZER.decode(each.tokens[turns[0][0] : turns[0][1]])
                answer = TOKENIZER.decode(each.tokens[end:start])
                assert answer.endswith("abcde"[int(asked.key)] + "\n")
                assert each.logprobs[end:start] == (0.0,) * (start - end)
            if len(turns) > 1:
                assert (
                    TOKENIZER.decode(each.tokens[turns[0][1] : turns[1][0]])[:-2] == said[:2][::-1]
                )
    assert {1, 3} <= set(seen)


def test_a_turn_is_sampled_as_its_place_in_the_whole_episode_says():
    """Each turn alone, from the tokens before it and the noise of its positions."""
    alone = engine()
    for asked, group in zip(REQUESTS, PLAYED, strict=True):
        for number, each in enumerate(group):
            for start, end in turns_of(each.sampled):
                again = Request(
                    "again", (*asked.prompt, *each.tokens[:start]), asked.seed, 1, LIMIT - start,
                    asked.temperature, asked.stop_tokens, first_rollout=number, first_position=start,
                )  # fmt: skip
                ((turn,),) = alone.generate([again])
                assert turn.tokens == each.tokens[start:end]
                assert turn.logprobs == each.logprobs[start:end]


def test_noise_goes_on_where_the_tokens_before_ended():
    """Of one completion, its second half asked for as what follows the first."""
    whole = replace(REQUESTS[1], stop_tokens=())
    (group,) = engine().generate([whole])
    rest = replace(
        whole, prompt=(*whole.prompt, *group[2].tokens[:7]), num_rollouts=1,
        max_new_tokens=LIMIT - 7, first_rollout=2, first_position=7,
    )  # fmt: skip
    ((tail,),) = engine().generate([rest])
    assert tail.tokens == group[2].tokens[7:]
    other = engine().generate([replace(rest, first_position=6)])[0][0]
    assert other.tokens != tail.tokens


@pytest.mark.parametrize("order", [(0,), (4, 2, 0, 1, 3), (3, 3, 0)])
@pytest.mark.parametrize("slots", [8, 64])
def test_an_episode_is_the_same_alone_and_beside_any_others(order, slots):
    asked = [REQUESTS[index] for index in order]
    played = conduct(Parrot()).play(engine(slots).generate, asked, "train")
    assert played == [PLAYED[index] for index in order]


def test_progress_counts_what_the_model_sampled():
    told = []
    played = conduct(Parrot()).play(engine().generate, REQUESTS, "train", told.append)
    assert told == sorted(told)
    assert told[-1] == sum(each.num_sampled for group in played for each in group)


def test_what_was_played_upholds_and_any_altered_token_end_or_turn_does_not():
    rules = conduct(Parrot())
    altered = 0
    for index, group in enumerate(PLAYED):
        for each in group:
            assert rules.upholds("train", index, each, LIMIT)
            assert not rules.upholds(
                "train", index, replace(each, finished=not each.finished), LIMIT
            )
            turns = turns_of(each.sampled)
            for (_, end), (start, _) in itertools.pairwise(turns):
                for place in range(end, start):
                    tokens = list(each.tokens)
                    tokens[place] = 3 + (tokens[place] - 2) % 60
                    assert not rules.upholds(
                        "train", index, replace(each, tokens=tuple(tokens)), LIMIT
                    )
                    altered += 1
                short = Rollout(each.tokens[:end], each.logprobs[:end], False, each.sampled[:end])
                assert not rules.upholds("train", index, short, LIMIT), "it ends before it is over"
                assert not rules.upholds("train", index, replace(short, finished=True), LIMIT)
            assert not rules.upholds("train", index, void(each), LIMIT)
    assert altered > 20


@pytest.mark.parametrize(
    "environment",
    [
        Parrot(10**9),
        Parrot(10**9, "y" * 1_000_000),
        Parrot(10**9, ""),
        Parrot(10**9, "<eos><bos>" * 3),
        Parrot(10**9, "\u00e9\U0001f600"),
    ],
    ids=["no end", "huge", "empty", "control", "unknown letters"],
)
def test_no_answer_of_an_environment_breaks_a_bound(environment):
    rules = conduct(environment, turns=3)
    played = rules.play(engine().generate, REQUESTS[:2], "train")
    for index, group in enumerate(played):
        for each in group:
            assert len(each.tokens) <= LIMIT
            assert not each.finished
            turns = turns_of(each.sampled)
            assert 1 <= len(turns) <= 3
            written = [
                t for t, is_sampled in zip(each.tokens, each.sampled, strict=True) if not is_sampled
            ]
            assert not set(written) & {0, 1, 2}, "text makes no control token"
            assert rules.upholds("train", index, each, LIMIT)


def test_only_sampled_tokens_are_learned_from():
    """The masked loss is that of the sampled places, each seen after everything before it."""
    model = tiny_model(1)
    prompt, tokens, mask = (1, 2, 3), (4, 5, 6, 7, 8, 9, 10), bytes((1, 1, 0, 0, 1, 1, 1))
    other = Branch((11, 12, 13), (-0.1,) * 3, 0.5)
    tree = Tree(prompt, (Branch(tokens, (-0.5,) * 7, 1.0, sampled=mask), other))
    batch = build([(tree,)])
    got, _ = Scorer(model, 1.0, Site())(batch)
    places = [0, 1, 4, 5, 6]
    wanted = torch.cat(
        [
            alone_logprobs(model, prompt, tokens, 1.0)[places],
            alone_logprobs(model, prompt, other.tokens, 1.0),
        ]
    )
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=2e-6)
    assert batch.targets_N.tolist() == [tokens[p] for p in places] + [11, 12, 13]
    assert count_sampled([tree]) == count_valid([tree]) == 8


@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_an_update_does_not_see_what_stands_in_the_log_probabilities_of_answers(data):
    """Nor their number: only sampled tokens are in the mean."""

    def rollout(start: int, filler: float) -> Rollout:
        tokens = tuple((start * 5 + place) % VOCAB for place in range(6))
        logprobs = (-1.0, -0.5, filler, filler, -0.7, -0.2)
        return Rollout(tokens, logprobs, True, bytes((1, 1, 0, 0, 1, 1)))

    filler = data.draw(st.sampled_from([0.0, -3.0, float("nan"), 5.0]))
    reports = []
    for each in (0.0, filler):
        trainer = Trainer(tiny_model(0), tiny_recipe(run={"groups_per_update": 1}))
        group = Group(0, (1, 2), tuple(rollout(n, each) for n in range(4)), (0.0, 1.0, 0.0, 0.5), 0)
        reports.append((trainer.update([group]), trainer.published_state()))
    assert reports[0][0] == reports[1][0]
    assert reports[0][0].tokens == 16
    assert all(torch.equal(reports[0][1][name], reports[1][1][name]) for name in reports[0][1])


def test_nothing_is_learned_from_a_void_episode():
    good = Rollout((3, 4, 5), (-1.0, -1.0, -1.0), True, bytes((1, 1, 1)))
    bad = void(replace(good, tokens=(6, 7, 8)))
    assert is_void(bad)
    assert not is_void(good)
    assert not is_void(Rollout((1,), (0.0,), True))
    group = Group(0, (1, 2), (good, bad, good, bad), (1.0, 0.0, 0.5, 0.0), 0)
    trees = trees_of(group, (0.6, -0.4, 0.1, -0.4), 256)
    assert [branch.tokens for tree in trees for branch in tree.branches] == [(3, 4, 5)] * 2
    trainer = Trainer(tiny_model(0), tiny_recipe(run={"groups_per_update": 1}))
    assert trainer.update([group]).tokens == 6
    nothing = Group(1, (1, 2), (bad, bad), (0.0, 0.0), 0)
    assert trainer.update([nothing]).optimiser_steps == 0
