"""The sync benchmark: its figures come from verified round trips of real updates."""

import pytest
import torch

from archipel.bench import sync
from archipel.bench.subjects import Learner, Subject, subject_named
from archipel.model.config import DecoderConfig

torch.set_num_threads(1)

TINY = Subject("tiny", DecoderConfig("llama", 64, 16, 1, 2, 2, 8, 24, 16), 2, 8, 3, 1e-3, 2)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "subject_named", lambda name: TINY)


def test_rows_say_what_was_sent_and_larger_steps_cost_more(tiny: None) -> None:
    rows = sync.measure(["tiny"], [1e-6, 1e-3], num_seeds=2)
    small, large = rows
    assert (
        small["full_bytes"]
        == 2 * small["num_weights"]
        == 2 * sum(value.numel() for value in Learner(TINY, 0).published().values())
    )
    assert small["seeds"] == 2
    assert small["versions"] == 2 * sync.MEASURED_VERSIONS
    assert small["changed_share"] < large["changed_share"]
    assert small["delta_bytes"] < large["delta_bytes"]
    low, high = large["delta_share_interval"]
    assert low <= large["delta_share"] <= high
    assert len(sync.table(rows).splitlines()) == 4


def test_a_figure_without_a_round_trip_is_never_reported(
    tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "apply_delta", lambda state, held, delta, target: state)
    with pytest.raises(sync.RoundTripFailed):
        sync.measure(["tiny"], [1e-3], num_seeds=1)


def test_one_seed_claims_no_interval(tiny: None) -> None:
    (row,) = sync.measure(["tiny"], [1e-4], num_seeds=1)
    assert row["delta_share_interval"] is None
    assert "one seed" in sync.table([row])


def test_a_learner_follows_from_its_seed() -> None:
    losses = []
    for _ in range(2):
        learner = Learner(TINY, 1)
        learner.begin(1e-3)
        losses.append([learner.step() for _ in range(3)])
    assert losses[0] == losses[1]
    assert losses[0] != [Learner(TINY, 2).step() for _ in range(3)]


def test_the_named_subjects_have_the_sizes_they_claim() -> None:
    from archipel.model.directory import expected_shapes

    for name, low, high in (("demo", 0.4e6, 0.42e6), ("30m", 25e6, 32e6)):
        config = subject_named(name).config
        size = sum(torch.Size(shape).numel() for shape in expected_shapes(config).values())
        assert low < size < high
    with pytest.raises(ValueError, match="no subject"):
        subject_named("big")
