"""Nodes that lie about retold contexts and about which task they played: such episodes earn nothing, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archipel.records.episodes import RETOLD, WRITTEN, turns_of
from archipel.records.rollouts import Rollout
from work.played import FORGETS, Played, chosen, retelling, teach, write_start

torch.set_num_threads(1)
Groups = list[list[Rollout]]


@pytest.fixture(autouse=True)
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    teach(monkeypatch)


def first_retold(groups: Groups, alter: Callable[[Rollout], Rollout]) -> Groups:
    """In each group the first episode of several samples, altered."""
    for group in groups:
        for number, one in enumerate(group):
            if RETOLD in one.sampled:
                group[number] = alter(one)
                break
    return groups


def another_context(one: Rollout) -> Rollout:
    """The context that it went on from says another word than the template would."""
    at, tokens = one.sampled.index(RETOLD), list(one.tokens)
    tokens[at + 3] = 3 + (tokens[at + 3] - 2) % 60
    return replace(one, tokens=tuple(tokens))


def no_context(one: Rollout) -> Rollout:
    """What was told anew is called an answer: so the episode would be one sample with a longer prompt."""
    return replace(one, sampled=one.sampled.replace(bytes([RETOLD]), bytes([WRITTEN])))


def cut_before(one: Rollout) -> Rollout:
    """It stops before the context that it did not like, and says that it had to."""
    end = next(b for _, b in turns_of(one.sampled))
    return Rollout(one.tokens[:end], one.logprobs[:end], True, one.sampled[:end])


def invented(one: Rollout) -> Rollout:
    """A context where the template kept all: an easier one to go on from."""
    (_, end), (following, _) = turns_of(one.sampled)[-2:]
    told = bytearray(one.sampled)
    told[end:following] = bytes([RETOLD]) * (following - end)
    return replace(one, sampled=bytes(told))


@pytest.mark.slow
@pytest.mark.parametrize("lie", [another_context, no_context, cut_before])
def test_a_context_that_the_template_would_not_tell_earns_nothing(
    tmp_path: Path, lie: Callable[[Rollout], Rollout]
) -> None:
    start = write_start(tmp_path / "start", retelling(), FORGETS)
    lied: list[int] = []

    def alter(groups: Groups) -> Groups:
        lied.append(sum(any(RETOLD in one.sampled for one in group) for group in groups))
        return first_retold(groups, lie)

    liar = Played(tmp_path / "liar", start, alter, retelling())
    liar.run()
    assert sum(lied) > 2
    assert [each["void_episodes"] for each in liar.metrics[1:]] == lied


@pytest.mark.slow
def test_a_context_that_nobody_told_anew_earns_nothing(tmp_path: Path) -> None:
    """Also where the node calls an answer a context, so as to be scored after it alone."""
    start = write_start(tmp_path / "start", retelling(), FORGETS)
    lied: list[int] = []

    def alter(groups: Groups) -> Groups:
        lied.append(0)
        for group in groups:
            for number, one in enumerate(group):
                if len(turns_of(one.sampled)) > 1 and RETOLD not in one.sampled:
                    group[number] = invented(one)
                    lied[-1] += 1
                    break
        return groups

    liar = Played(tmp_path / "liar", start, alter, retelling())
    liar.run()
    assert sum(lied) > 2
    assert [each["void_episodes"] for each in liar.metrics[1:]] == lied


def test_who_plays_another_task_than_was_chosen_earns_nothing(tmp_path: Path) -> None:
    """Tasks follow from what was earned; a node that likes another group's better plays that, whole and well."""
    start = write_start(tmp_path / "start")

    def swapped(groups: Groups) -> Groups:
        return [groups[1], groups[0], *groups[2:]]

    honest = Played(tmp_path / "honest", start, of=chosen())
    liar = Played(tmp_path / "liar", start, swapped, chosen())
    honest.run()
    liar.run()
    size = chosen().run.group_size
    assert [each["void_episodes"] for each in honest.metrics[1:]] == [0, 0]
    for found in liar.metrics[1:]:
        assert size < found["void_episodes"] <= 2 * size, (
            "but for turns that say nothing of the task"
        )
