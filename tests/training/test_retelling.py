"""Episodes by a chat template that changes earlier turns: samples of their own, each learned from after its own prompt."""

import itertools
from dataclasses import replace

import pytest
import tokenizers
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.exact.replay import Recorded
from archipel.model.chat import InvalidChat
from archipel.model.dialogue import chat_ids
from archipel.model.tokenizer import Tokenizer, character_tokenizer
from archipel.proofs.forced import Forcing
from archipel.records.episodes import RETOLD, SAMPLED, WRITTEN, turns_of
from archipel.records.recipe import PromptSection
from archipel.records.requests import Allowed, Request
from archipel.records.rollouts import Rollout
from archipel.records.samples import samples_of
from archipel.training.batch import Group
from archipel.training.branches import Branch
from archipel.training.episodes import Conduct, void
from archipel.training.manner import Manner
from archipel.training.means import weighed
from archipel.training.packing import Tree, count_sampled, plan, trees_of
from archipel.training.scorer import Scorer
from archipel.training.sharding import Site
from archipel.training.talk import end_in
from training.parrot import Parrot
from training.tiny_learner import alone_logprobs, rounded_copy, tiny_model

torch.set_num_threads(1)
FORGETS = (
    "{% for m in messages %}<bos>{{ m.role[0] }}:"
    "{{ m.content if loop.last or m.role != 'assistant' else m.content.split('a')[-1].split('e')[-1].split('t')[-1] }}"
    "{{ '' if m.role == 'assistant' and m.content[-1:] in 'hijklm' else '<eos>' }}"
    "{% endfor %}{% if add_generation_prompt %}<bos>a:{% endif %}"
)
"""A turn of the model loses all that it said up to certain letters, once another follows."""
TOKENIZER = replace(character_tokenizer(), end_ids=(2, *range(10, 16))).with_chat_template(FORGETS)
FORM = PromptSection(system="s")
LIMIT, CONTEXT = 150, 192
MODEL = tiny_model(3, vocab_size=64, max_position_embeddings=CONTEXT)
STATE = {name: tensor.detach().to(torch.bfloat16) for name, tensor in MODEL.named_parameters()}


def conduct(form: PromptSection | None = FORM, template: str = FORGETS) -> Conduct:
    tokenizer = TOKENIZER.with_chat_template(template)
    return Conduct(Parrot(4), Manner(tokenizer, True, "plain", (), form), 8)


def engine() -> LocalEngine:
    made = LocalEngine(MODEL.config, limits=EngineLimits(max_slots=64))
    made.load(STATE)
    return made


def opening(index: int) -> list[dict[str, str]]:
    prompt = Parrot().task("train", index).prompt
    return [{"role": "system", "content": "s"}, {"role": "user", "content": prompt}]


def request(index: int, rollouts: int = 4) -> Request:
    prompt = tuple(chat_ids(TOKENIZER, opening(index)))
    return Request(str(index), prompt, 77 + index, rollouts, LIMIT, 1.3, TOKENIZER.stop_ids)


REQUESTS = [request(index) for index in range(3)]
PLAYED = conduct().play(engine().generate, REQUESTS, "train")
EPISODES = [(asked, each) for asked, group in zip(REQUESTS, PLAYED, strict=True) for each in group]
SPLIT = [(asked, each) for asked, each in EPISODES if RETOLD in each.sampled]


def test_a_context_is_told_anew_exactly_where_the_template_changes_what_was_said() -> None:
    appended = 0
    for asked, each in EPISODES:
        messages, rules = opening(int(asked.key)), conduct()
        turns, sample = turns_of(each.sampled), list(asked.prompt)
        for (start, end), following in itertools.pairwise(turns):
            said, answer = each.tokens[start:end], each.tokens[end : following[0]]
            sample += said
            messages.append({"role": "assistant", "content": TOKENIZER.decode(said)})
            texts = rules.environment.reply(
                rules.environment.task("train", int(asked.key)),
                rules.turns(each)[: len(messages) // 2],
            )
            messages.append({"role": "user", "content": texts[0]})
            whole = chat_ids(TOKENIZER, messages)
            is_kept = whole[: len(sample)] == sample
            appended += is_kept
            marks = set(each.sampled[end : following[0]])
            assert marks == ({WRITTEN} if is_kept else {RETOLD})
            assert list(answer) == (whole[len(sample) :] if is_kept else whole)
            sample = whole
    assert appended > 4
    assert len(SPLIT) > 4
    assert max(len(samples_of((), each)) for _, each in SPLIT) > 2


def test_every_sampled_token_is_in_one_sample_after_the_context_that_it_was_sampled_from() -> None:
    alone = engine()
    for asked, each in SPLIT[:4]:
        parts, seen = samples_of(asked.prompt, each), 0
        for part in parts:
            assert RETOLD not in part.rollout.sampled
            seen += part.rollout.num_sampled
            for start, end in turns_of(part.rollout.sampled):
                place = part.first + start
                again = replace(
                    asked, prompt=(*part.prompt, *part.rollout.tokens[:start]), num_rollouts=1,
                    max_new_tokens=LIMIT - place, first_rollout=PLAYED[int(asked.key)].index(each),
                    first_position=place,
                )  # fmt: skip
                ((turn,),) = alone.generate([again])
                assert turn.tokens == part.rollout.tokens[start:end]
                assert turn.logprobs == part.rollout.logprobs[start:end]
        assert seen == each.num_sampled
        assert [part.rollout.finished for part in parts] == [False] * (len(parts) - 1) + [
            each.finished
        ]


def test_what_was_played_upholds_and_no_altered_context_or_mark_does() -> None:
    rules = conduct()
    for asked, each in EPISODES:
        assert rules.upholds("train", int(asked.key), each, LIMIT)
    for asked, each in SPLIT[:5]:
        index, place = int(asked.key), each.sampled.index(RETOLD)
        for at in range(place, place + 12):
            tokens = list(each.tokens)
            tokens[at] = 3 + (tokens[at] - 2) % 60
            assert not rules.upholds("train", index, replace(each, tokens=tuple(tokens)), LIMIT)
        told = each.sampled.replace(bytes([RETOLD]), bytes([WRITTEN]))
        assert not rules.upholds("train", index, replace(each, sampled=told), LIMIT)
        assert not rules.upholds("train", index, void(each), LIMIT)
        assert not conduct(None, TEMPLATES["keeps"]).upholds("train", index, each, LIMIT)


def test_the_trusted_role_finds_each_step_again_from_the_turns_alone() -> None:
    rules = conduct()
    for asked, each in EPISODES[::3]:
        said = [each.tokens[start:end] for start, end in turns_of(each.sampled)]
        ends = [end for _, end in turns_of(each.sampled)]
        for number, end in enumerate(ends, 1):
            step = rules.after("train", int(asked.key), said[:number], LIMIT - end)
            following = each.tokens[end : end + len(step.answer)]
            assert step.answer == following
            assert set(each.sampled[end : end + len(following)]) <= {step.mark}


KEEPS = (
    "{% for m in messages %}<bos>{{ m.role[0] }}:{{ m.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<bos>a:{% endif %}"
)
TEMPLATES = {
    "forgets": FORGETS,
    "keeps": KEEPS,
    "refuses": "{{ raise_exception('no turns') if messages | length > 2 }}<bos>",
}


def test_such_a_template_is_refused_unless_new_samples_are_asked_for() -> None:
    thinks = FORGETS.replace("split('a')", "split('</think>')")
    with pytest.raises(InvalidChat, match="rewritten"):
        conduct(None, thinks).manner.require_turns()
    conduct(FORM, thinks).manner.require_turns()
    with pytest.raises(InvalidChat, match="no turns"):
        conduct(FORM, TEMPLATES["refuses"]).manner.require_turns()


def test_by_a_template_that_changes_nothing_an_episode_is_what_it_is_without_new_samples() -> None:
    eos_alone = replace(TOKENIZER, end_ids=(2,))

    def played(form: PromptSection | None) -> list[tuple[Rollout, ...]]:
        manner = Manner(eos_alone.with_chat_template(KEEPS), True, "plain", (), form)
        told = {"stop_tokens": (2,), "allowed": Allowed(frozenset((2, *range(20, 28))))}
        asked = [replace(each, temperature=2.0, **told) for each in REQUESTS[:1]]
        return Conduct(Parrot(4), manner, 8).play(engine().generate, asked, "train")

    found = played(FORM)
    assert found == played(None)
    assert max(len(turns_of(each.sampled)) for group in found for each in group) > 1


def pairs() -> Tokenizer:
    """Knows `ab` as one token and as two."""
    vocabulary = {"<end>": 0, "a": 1, "b": 2, "ab": 3, "c": 4}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, [("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<end>", special=True)])
    return Tokenizer(backend, eos_token="<end>")


@pytest.mark.parametrize(
    ("sample", "whole", "end"),
    [
        ((1, 2, 0), (3, 0, 4), 2),
        ((3, 0, 1, 2, 0), (1, 2, 0, 3, 0, 4, 4), 5),
        ((3, 0), (3, 0, 4), 2),
        ((1, 2, 0), (1, 4, 0, 4), None),
        ((1, 2), (3, 0), None),
        ((1, 0, 2, 0), (3, 0), None),
        ((), (3, 0), 0),
    ],
)
def test_other_tokens_of_the_same_text_are_no_change(
    sample: tuple[int, ...], whole: tuple[int, ...], end: int | None
) -> None:
    assert end_in(pairs(), sample, whole) == end


def test_an_update_scores_each_sampled_token_in_its_own_sample() -> None:
    asked, group = REQUESTS[1], PLAYED[1]
    model = rounded_copy(MODEL)
    trees = trees_of(Group(1, asked.prompt, group, (0.0,) * 4, 0), (0.5, -0.5, 1.0, -1.0), 256)
    scorer = Scorer(model, asked.temperature, Site())
    got = {}
    for rows in plan(trees, 4096):
        batch = scorer.batch_of(rows)
        values = scorer(batch)[0]
        for token, value, sampled in zip(
            batch.targets_N.tolist(),
            values.tolist(),
            batch.behaviour_logprobs_N.tolist(),
            strict=True,
        ):
            got.setdefault((token, round(sampled, 5)), []).append(value)
    wanted = {}
    for each in group:
        for part in samples_of(asked.prompt, each):
            own = part.rollout.tokens
            scored = alone_logprobs(model, part.prompt, own, asked.temperature).detach()
            for place, mark in enumerate(part.rollout.sampled):
                if mark == SAMPLED:
                    key = (part.rollout.tokens[place], round(part.rollout.logprobs[place], 5))
                    wanted.setdefault(key, []).append(float(scored[place]))
    assert got.keys() == wanted.keys()
    for key, values in wanted.items():
        assert sorted(got[key]) == pytest.approx(sorted(values), abs=2e-4)
    assert count_sampled(trees) == sum(each.num_sampled for each in group)


def test_an_episode_of_several_samples_counts_as_one_completion() -> None:
    group = PLAYED[1]
    trees = trees_of(Group(1, REQUESTS[1].prompt, group, (0.0,) * 4, 0), (1.0,) * 4, 256)
    branches = [branch for tree in trees for branch in tree.branches]
    assert len(branches) > 4
    weighted, divisor = weighed(trees)
    assert divisor == 4
    total = sum(branch.weight * len(branch.scored) for tree in weighted for branch in tree.branches)
    assert total == pytest.approx(4)
    lone = Tree((1,), (Branch((2,), (float("nan"),), 1.0),))
    assert weighed([lone])[1] == 0


def test_whoever_checks_the_noise_reads_each_sample_after_its_own_prompt() -> None:
    forcing = Forcing(rounded_copy(MODEL))
    for asked, group in zip(REQUESTS, PLAYED, strict=True):
        found = forcing.check(Recorded(asked, dict(enumerate(group))))
        for checked, each in zip(found, group, strict=True):
            assert len(checked.excess) == each.num_sampled
            assert float(checked.excess.max()) < 1e-3
            assert float(abs(checked.differences).max()) < 1e-3
