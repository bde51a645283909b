"""Which groups may be learned from, at the very edges of every bound."""

from dataclasses import replace

import pytest

from archipel.records import recipe
from archipel.records.rollouts import Rollout
from archipel.training import batch
from archipel.training.batch import BadGroup, Group, check_groups

VOCAB = 10
GOOD = Group(3, (1,), (Rollout((2, 3), (-0.5, -0.5), True),) * 2, (0.0, 1.0), 0)


def with_rollout(**changes) -> Group:
    return replace(GOOD, rollouts=(GOOD.rollouts[0], replace(GOOD.rollouts[1], **changes)))


def accepted(group: Group, version: int = 0) -> bool:
    try:
        return check_groups([group], version, VOCAB) == (group,)
    except BadGroup:
        return False


def test_groups_come_back_in_the_order_of_their_index():
    groups = [replace(GOOD, index=index) for index in (7, 0, 3)]
    assert [group.index for group in check_groups(groups, 0, VOCAB)] == [0, 3, 7]


def test_two_rollouts_are_a_group_and_one_is_none():
    assert accepted(GOOD)
    assert not accepted(replace(GOOD, rollouts=GOOD.rollouts[:1], rewards=(1.0,)))


@pytest.mark.parametrize(("version", "is_fit"), [(-1, False), (0, True), (4, True), (5, False)])
def test_a_group_is_of_a_version_that_was_published(version, is_fit):
    assert accepted(replace(GOOD, policy_version=version), version=4) == is_fit


@pytest.mark.parametrize(("token", "is_fit"), [(-1, False), (0, True), (9, True), (10, False)])
@pytest.mark.parametrize("place", ["prompt", "tokens"])
def test_token_ids_are_those_of_the_vocabulary(place, token, is_fit):
    ids = (token,) if place == "prompt" else (2, token)
    group = replace(GOOD, prompt=ids) if place == "prompt" else with_rollout(tokens=ids)
    assert accepted(group) == is_fit


def test_every_rollout_of_every_group_is_looked_at():
    bad = with_rollout(logprobs=(-0.5,))
    with pytest.raises(BadGroup, match="group 4, rollout 1 has 1 log-probabilities for 2 tokens"):
        check_groups([GOOD, replace(bad, index=4)], 0, VOCAB)


def test_a_sequence_may_be_as_long_as_the_bound_and_no_longer(monkeypatch):
    monkeypatch.setattr(batch, "MAX_SEQUENCE_TOKENS", 3)
    assert accepted(GOOD)
    monkeypatch.setattr(batch, "MAX_SEQUENCE_TOKENS", 2)
    assert not accepted(GOOD)


def test_an_update_may_hold_as_many_groups_as_the_bound_and_no_more(monkeypatch):
    monkeypatch.setattr(batch, "MAX_GROUPS_PER_UPDATE", 2)
    three = [replace(GOOD, index=index) for index in range(3)]
    assert len(check_groups(three[:2], 0, VOCAB)) == 2
    for groups in ([], three):
        with pytest.raises(BadGroup, match="expected 1 to 2"):
            check_groups(groups, 0, VOCAB)


def test_an_update_takes_as_many_groups_as_a_recipe_may_ask_for():
    run = {"name": "x", "versions": 1, "groups_per_update": batch.MAX_GROUPS_PER_UPDATE}
    section = recipe.RunSection.model_validate(run)
    assert section.groups_per_update == batch.MAX_GROUPS_PER_UPDATE
    with pytest.raises(ValueError, match="groups_per_update"):
        recipe.RunSection.model_validate(run | {"groups_per_update": 65_537})
    assert batch.MAX_GROUPS_PER_UPDATE == 65_536
