"""A member's works: the same bytes twice, over restarts, and asked for again."""

from itertools import islice

import numpy as np
import pytest
import torch

from archipel.training.inner.member import AnothersState, Member
from archipel.training.inner.stepping import TooFewWindows, WrongBase
from training.inner.texts import following, same, tiny_base, tiny_terms, windows_from
from training.tiny_learner import tiny_model

torch.set_num_threads(1)
STEPS, EVERY = 3, 2


def residual_of(trained):
    """What an encoder that sends three quarters would leave."""
    return {name: each / 4 for name, each in trained.delta.items()}


def works(folder, labels, restarts: bool, **changes):
    """One work after another from versions that one member makes; -> what came of each."""
    base, found, terms = tiny_base(), [], tiny_terms(**changes)
    member = Member(tiny_model(), terms, folder)
    for label in labels:
        if restarts:
            member = Member(tiny_model(), terms, folder)
        first = STEPS * int(label)
        trained = member.train(base, windows_from(first), first, STEPS, EVERY, label)
        member.keep(residual_of(trained))
        base = following(base, trained)
        found.append(trained)
    return found


def equal(ours, theirs) -> bool:
    return ours.commitments == theirs.commitments and same(ours.delta, theirs.delta)


@pytest.fixture(scope="module")
def through():
    """Three works in memory, uninterrupted."""
    return works(None, "012", restarts=False)


def test_a_work_says_its_losses_tokens_stretches_and_what_it_moved(through):
    first = through[0]
    assert len(first.losses) == STEPS
    expected = sum(
        int((d[:, 1:] == d[:, :-1]).sum())
        for (_, d), _ in zip(windows_from(0), range(STEPS), strict=False)
    )
    assert first.tokens == expected
    assert len(set(first.commitments)) == 3, "before, after two steps, after the third"
    assert first.machine.endswith("threads: 1"), "with more, sums may be in another order"
    assert all(each.dtype == np.float32 and each.any() for each in first.delta.values())


def test_training_lowers_the_loss_of_text_seen_again():
    base, found, member = tiny_base(), [], Member(tiny_model(), tiny_terms(total_steps=40))
    for version in range(8):
        trained = member.train(base, windows_from(0), version * 5, 5)
        base = following(base, trained)
        found.append(sum(trained.losses))
    assert found[-1] < found[0] - 5


def test_restarted_before_each_work_a_member_goes_on_as_if_it_never_was(tmp_path, through):
    again = works(tmp_path, "012", restarts=True)
    assert all(map(equal, through, again))


def test_what_a_member_remembers_moves_its_later_works(through):
    fresh = works(None, "012", restarts=False, state="fresh")
    assert same(fresh[0].delta, through[0].delta)
    assert not same(fresh[1].delta, through[1].delta)


def test_a_fresh_member_remembers_its_residual_alone(tmp_path):
    fresh = works(None, "01", restarts=False, state="fresh")
    assert all(map(equal, fresh, works(tmp_path, "01", restarts=True, state="fresh")))


def test_the_same_work_again_gives_the_same_bytes_and_what_follows_too(tmp_path, through):
    works(tmp_path, "01", restarts=False)
    base = following(tiny_base(), through[0])
    member = Member(tiny_model(), tiny_terms(), tmp_path)
    for _ in range(2):
        again = member.train(base, windows_from(STEPS), STEPS, STEPS, EVERY, "1")
        assert equal(again, through[1])
        member.keep(residual_of(again))
    member.train(base, windows_from(8), 8, 2, work="given up before it was kept")
    last = member.train(
        following(base, through[1]), windows_from(2 * STEPS), 2 * STEPS, STEPS, EVERY, "2"
    )
    assert equal(last, through[2])


def test_a_state_is_revealed_by_making_its_work_again(tmp_path, through):
    works(tmp_path, "01", restarts=False)
    base = following(tiny_base(), through[0])
    member = Member(tiny_model(), tiny_terms(), tmp_path)
    for at, steps in enumerate((0, 2, 3)):
        state = member.reveal(base, windows_from(STEPS), STEPS, steps, "1")
        assert state.digest() == through[1].commitments[at]


def test_a_damaged_file_costs_its_work_and_no_more(tmp_path, through, caplog):
    works(tmp_path, "01", restarts=False)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    member = Member(tiny_model(), tiny_terms(), tmp_path)
    base = following(tiny_base(), through[0])
    again = member.train(base, windows_from(STEPS), STEPS, STEPS, EVERY, "1")
    assert equal(again, through[1])
    assert "refused" in caplog.text


def test_few_files_are_kept(tmp_path):
    works(tmp_path, "0123", restarts=False, total_steps=20)
    assert len(list(tmp_path.iterdir())) == 3


def test_what_does_not_fit_is_refused(tmp_path):
    base, member = tiny_base(), Member(tiny_model(), tiny_terms(), tmp_path)
    with pytest.raises(TooFewWindows, match="windows for 2 inner steps were given, and 3"):
        member.train(base, islice(windows_from(0), 2), 0, 3)
    for change in (
        {"model.norm.weight": np.ones(3, np.float32)},
        {"model.norm.weight": base["model.norm.weight"].astype(np.float64)},
        {"more": np.ones(3, np.float32)},
    ):
        with pytest.raises(WrongBase, match="a version of this run"):
            member.train(base | change, windows_from(0), 0, 1)
    works(tmp_path, "0", restarts=False)
    with pytest.raises(AnothersState, match="a folder of its own"):
        Member(tiny_model(), tiny_terms(optimiser="muon"), tmp_path).train(
            base, windows_from(0), 0, 1
        )
