"""What an update says of itself, against a count by hand."""

import math

import pytest
import torch

from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.losses import TokenLoss
from archipel.training.packing import Branch, Tree, build, muted
from archipel.training.report import TokenSums, make_report
from archipel.training.sharding import Site

GAPS = (0.0, 0.4, -0.3)
"""Log ratios of three valid tokens; a fourth token is not valid."""


def some_batch():
    logprobs = (-1.0, -2.0, -1.5, float("nan"))
    return build([(Tree((1,), (Branch((2, 3, 4, 5), logprobs, 1.0),)),)])


def one_step() -> TokenSums:
    sums, batch = TokenSums(), some_batch()
    logprobs_N = batch.behaviour_logprobs_N + torch.tensor([*GAPS, 1.0])
    loss = TokenLoss(torch.tensor([1.0, 2.0, 4.0, 100.0]), torch.tensor([True, False, False, True]))
    sums.count(3, 4)
    sums.add(batch, logprobs_N, torch.tensor([0.5, 1.5, 1.0, 100.0]), loss)
    sums.stepped(2.5, 0.1, 3)
    return sums


def group(version: int, rewards: tuple[float, ...]) -> Group:
    return Group(version, (1,), (Rollout((2,), (-1.0,), True),) * len(rewards), rewards, version)


def test_every_figure_is_the_mean_over_valid_tokens_or_the_count_by_hand():
    groups = [group(4, (1.0, 0.0)), group(2, (1.0, 1.0)), group(3, (0.0, 1.0))]
    report = make_report(4, groups, 2, one_step(), Site())
    ratios = [math.exp(gap) for gap in GAPS]
    assert (report.version, report.groups, report.zero_advantage_groups) == (5, 3, 1)
    assert report.reward_mean == pytest.approx(4 / 6)
    assert (report.tokens, report.invalid_tokens, report.optimiser_steps) == (3, 1, 1)
    assert (report.learning_rate, report.grad_norm) == (0.1, 2.5)
    assert report.loss == pytest.approx((1 + 2 + 4) / 3)
    assert report.ratio_mean == pytest.approx(sum(ratios) / 3)
    assert report.ratio_max == pytest.approx(max(ratios))
    kl = sum(ratio - 1 - gap for ratio, gap in zip(ratios, GAPS, strict=True)) / 3
    assert report.mismatch_kl == pytest.approx(kl, rel=1e-5)
    effective = sum(ratios) ** 2 / (3 * sum(ratio**2 for ratio in ratios))
    assert report.effective_sample_fraction == pytest.approx(effective)
    assert report.held_back_fraction == pytest.approx(1 / 3)
    assert report.entropy == pytest.approx(1.0)
    assert (report.staleness_mean, report.staleness_max) == (1.0, 2)


def test_several_steps_give_the_largest_norm_the_last_rate_and_the_mean_loss():
    sums = one_step()
    sums.count(3, 3)
    sums.add(some_batch(), torch.full((4,), -1.0), torch.zeros(4), _flat_loss(6.0))
    sums.stepped(1.5, 0.2, 3)
    report = make_report(0, [group(0, (0.0, 1.0))], 1, sums, Site())
    assert (report.optimiser_steps, report.grad_norm, report.learning_rate) == (2, 2.5, 0.2)
    assert report.loss == pytest.approx((7 / 3 + 18 / 3) / 2)
    assert (report.tokens, report.invalid_tokens) == (6, 1)


def test_what_was_cut_off_and_what_was_said_alike_is_counted_over_all_rollouts():
    def said(index, *completions):
        rollouts = tuple(
            Rollout(tokens, (-1.0,) * len(tokens), tokens[-1] == 2) for tokens in completions
        )
        return Group(index, (1,), rollouts, (1.0,) * len(rollouts), 0)

    groups = [
        said(0, (7, 2), (7, 2), (7, 2), (7, 2)),
        said(1, (7, 2), (8, 2), (9, 9), (8, 2)),
        said(2, (5, 5), (5, 6), (6, 5), (7, 2)),
    ]
    report = make_report(0, groups, 0, TokenSums(), Site())
    assert report.finished_fraction == pytest.approx(8 / 12)
    assert report.distinct_fraction == pytest.approx((1 / 4 + 3 / 4 + 4 / 4) / 3)
    assert report.commonest_fraction == pytest.approx(6 / 12)


def test_a_batch_that_does_not_count_changes_no_figure():
    sums = one_step()
    sums.add(muted(some_batch()), torch.full((4,), -9.0), torch.ones(4), _flat_loss(9.0))
    groups = [group(0, (0.0, 1.0))]
    expected = make_report(0, groups, 1, one_step(), Site())
    assert make_report(0, groups, 1, sums, Site()) == expected


def test_an_update_without_a_token_reports_zeros():
    report = make_report(0, [group(0, (1.0, 1.0))], 0, TokenSums(), Site())
    figures = (report.loss, report.grad_norm, report.ratio_mean, report.ratio_max, report.entropy)
    assert figures == (0.0,) * 5
    assert (report.effective_sample_fraction, report.learning_rate, report.tokens) == (0.0, 0.0, 0)


def _flat_loss(value: float) -> TokenLoss:
    return TokenLoss(torch.full((4,), value), torch.zeros(4, dtype=torch.bool))
