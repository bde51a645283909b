"""How far weights lie from others, and a trainer that leans on what was published."""

import math

import pytest
import torch

from archipel.records.made import MAX_MADE_BYTES, Made, read_made
from archipel.training.trainer import Trainer
from archipel.work.rebuilding import MOST_DIFFERING, apart
from training.tiny_learner import tiny_model, tiny_recipe


def weights(*values: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(values, dtype=torch.bfloat16)}


def test_weights_are_compared_by_the_way_that_they_went() -> None:
    before, told = weights(*[0.0] * 200), weights(*[1.0] * 200)
    same = apart(told, told, before)
    assert (same.differing, same.numbers, same.share) == (0, 200, 0.0)
    near = apart(weights(*[1.0] * 199, 1.25), told, before)
    assert near.differing == 1
    assert math.isclose(near.share, 0.25 / math.sqrt(200))
    assert near.is_rounding
    many = apart(weights(*[1.0] * 197, *[1.0078125] * 3), told, before)
    assert many.share < near.share
    assert many.differing > MOST_DIFFERING * many.numbers
    assert not many.is_rounding, "a little in many places is no rounding of one step"
    assert not apart(weights(*[1.0] * 199, 4.0), told, before).is_rounding
    assert apart(weights(*[1.0] * 199, math.nan), told, before).share == math.inf
    assert apart(weights(1.0), told, before).share == math.inf
    assert apart(told, before, before).share == math.inf, "where nothing moved, nothing may differ"
    assert apart(before, before, before).share == 0.0


def test_a_trainer_that_leans_takes_what_differs_and_keeps_all_else_of_its_own() -> None:
    trainer = Trainer(tiny_model(), tiny_recipe())
    masters = trainer._optimiser._masters
    with torch.no_grad():
        for each in masters.values():
            each.add_(1e-6)
    kept = {name: each.clone() for name, each in masters.items()}
    first = {name: each.detach().bfloat16() for name, each in masters.items()}
    trainer.lean_on(first)
    assert all(torch.equal(each, kept[name]) for name, each in masters.items())
    name = sorted(first)[0]
    told = {**first, name: first[name] + 1}
    trainer.lean_on(told)
    led = trainer.published_state()
    assert all(torch.equal(led[each], told[each]) for each in told)
    moved = {each for each, master in masters.items() if not torch.equal(master, kept[each])}
    assert moved == {name}


def test_what_weights_were_made_from_reads_back_and_is_bounded() -> None:
    said = Made(
        recipe="{}", first_example=0, began=None, weights=f"sha256:{'1' * 64}",
        software="archipel 0", machine="m", threads=1,
    )  # fmt: skip
    assert read_made(said.to_bytes()) == said
    with pytest.raises(ValueError, match="at most"):
        read_made(b" " * (MAX_MADE_BYTES + 1))
    for wrong in (
        b"",
        b"[]",
        said.to_bytes() + b"\n",
        said.to_bytes().replace(b'"threads":1', b'"threads":0'),
    ):
        with pytest.raises(ValueError):
            read_made(wrong)
