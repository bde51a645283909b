"""Stop strings and allowed characters between a node and the trusted role: the central loop's weights to the bit."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archipel.bench.central import Bench
from archipel.engine.engine import LocalEngine
from archipel.model.directory import read_model
from archipel.model.manifest import describe
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.training.environments.environment import make_environment
from archipel.training.environments.judgement import Judgement
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer
from archipel.work.engines import our_engine
from archipel.work.kind import WorkFailed
from archipel.work.verifying import Regrading
from tiny import SECRET, tiny_recipe
from work import played
from work.played import Played

torch.set_num_threads(1)
ALLOWED = "abcdefghij0123456789#=\n"
STOP = ("ab", "=\n", "e", "#")


def recipe(**sampling: object) -> Recipe:
    told = tiny_recipe(2, 0).model_dump()
    told["run"] |= {"group_size": 4, "anchor_every": 1}
    told["model"] |= {"max_position_embeddings": 64}
    told["sampling"] = {"max_new_tokens": 24, **sampling}
    return Recipe.model_validate(told | {"supervised": None})


BOTH = recipe(stop=STOP, allowed=ALLOWED)


def marks(shown) -> list[float]:
    """Something that hangs on every letter, so that a text cut elsewhere earns something else."""
    return [(sum(map(ord, each.completion)) + each.finished) % 4 / 4 for each in shown]


class InProcess:
    """A grader without a process of its own."""

    faults: dict = {}  # noqa: RUF012

    def graded(self, shown):
        return tuple(map(Judgement, marks(shown)))

    def grade(self, shown):
        return tuple(marks(shown))

    def close(self):
        """Nothing to end."""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for room in ("learner", "verifying"):
        monkeypatch.setattr(f"archipel.work.{room}.grader_of", lambda *_: InProcess())
    monkeypatch.setitem(played.episodes.PLAYED, "parrot", "parrot-1")
    return played.write_start(tmp_path / "start")


def central(start: Path, of: Recipe) -> list[str]:
    """Digest of every version that one process makes."""
    tokenizer = Tokenizer.from_directory(start)
    model = read_model(start)
    environment = make_environment(of.environment, of.run.seed, SECRET)
    engine: LocalEngine = our_engine(model.config, None)
    bench = Bench(of, environment, tokenizer, model.config, {}, engine, None)
    rehearsal = replace(bench.rehearsal(), grade=marks)
    trainer = Trainer(model, of)
    digests = [describe(trainer.published_state(), 0, None).state]
    reinforce(
        trainer,
        rehearsal,
        lambda report: digests.append(describe(trainer.published_state(), 1, None).state),
    )
    return digests


def test_a_node_and_the_trusted_role_make_the_central_loops_weights_bit_for_bit(
    tmp_path: Path, start: Path
) -> None:
    made = Played(tmp_path / "made", start, of=BOTH)
    assert made.run() == central(start, BOTH)
    assert len(set(made.policies)) == 3, "something was learned"
    assert {each.get("void_completions") for each in made.metrics[1:]} == {0}
    assert made.metrics[1]["ratio_max_micro"] == pytest.approx(1e6, rel=1e-3)
    rollouts = [each for group in made.played for each in group]
    tokenizer = Tokenizer.from_directory(start)
    assert len({len(each.tokens) for each in rollouts}) > 2
    for each in rollouts:
        assert set(tokenizer.decode(each.tokens[:-1])) <= set(ALLOWED)
        assert not any(stop in tokenizer.decode(each.tokens[:-1]) for stop in STOP)
    assert made.policies != central(start, recipe(stop=STOP)), "what is allowed matters"


def cut_early(one: Rollout) -> Rollout:
    return Rollout(one.tokens[:-1], one.logprobs[:-1], True)


def gone_on(one: Rollout) -> Rollout:
    return Rollout((*one.tokens, 2), (*one.logprobs, -1.0), True)


def said_more(one: Rollout) -> Rollout:
    return replace(one, tokens=(62, *one.tokens[1:]))


@pytest.mark.parametrize(
    "lie", [cut_early, pytest.param(gone_on, marks=pytest.mark.slow), said_more]
)
def test_who_cuts_early_goes_on_or_says_more_earns_nothing_and_is_named(
    tmp_path: Path, start: Path, caplog: pytest.LogCaptureFixture, lie
) -> None:
    """The lab, which has no tokenizer, accepts it; the trusted role and whoever looks again find it."""

    def altered(groups: list[list[Rollout]]) -> list[list[Rollout]]:
        for group in groups:
            for number, one in enumerate(group):
                if 2 < len(one.tokens) < 24 and one.tokens[-1] not in played.ENDS:
                    group[number] = lie(one)
                    break
        return groups

    liar = Played(tmp_path / "liar", start, altered, BOTH)
    with caplog.at_level(logging.WARNING, logger="archipel"):
        liar.run()
    assert all(each["void_completions"] >= 1 for each in liar.metrics[1:])
    assert "tiny.1: group " in caplog.text
    groups = dict(enumerate(liar.played, liar.recipe.run.groups_per_update))
    with Regrading(liar.recipe, SECRET, start) as regrading:
        assert regrading.mean_micro(groups) == liar.metrics[2]["reward_micro"]


def test_characters_that_the_vocabulary_lacks_stop_the_run_before_it_begins(
    tmp_path: Path, start: Path
) -> None:
    with pytest.raises(WorkFailed, match="no token of its own"):
        Played(tmp_path / "made", start, of=recipe(allowed="01é")).run()
