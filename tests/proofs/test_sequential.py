import math
from dataclasses import replace

import numpy as np
import pytest

from archipel.proofs.sequential import BadTest, SequentialTest, Standing, after, first_accusation

WATCH = SequentialTest(honest=0.1, cheat=0.5, audits_per_year=2000, false_per_year=0.05)
PROVIDERS = 100


def accused(test: SequentialTest, chance: float, audits: int, seed: int = 1) -> list[int | None]:
    odd = np.random.default_rng(seed).random((PROVIDERS, audits)) < chance
    return [first_accusation(test, (("a", bool(each)) for each in row)) for row in odd]


def test_an_honest_weight_is_worth_nothing_on_average() -> None:
    for chance in (0.1, 0.05, 0.01):
        worth = chance * math.exp(WATCH.weight(True)) + (1 - chance) * math.exp(WATCH.weight(False))
        assert worth <= 1 + 1e-12


def test_honest_providers_are_accused_no_more_often_than_stated() -> None:
    years = [each for each in accused(WATCH, WATCH.honest, WATCH.audits_per_year) if each]
    # 0.05 of 100 are 5 on average at most; more than 13 have a chance below 0.001.
    assert len(years) <= 13


def test_cheats_are_accused_about_as_soon_as_said() -> None:
    for fraction in (1.0, 0.5):
        odd = fraction * WATCH.cheat + (1 - fraction) * WATCH.honest
        found = accused(WATCH, odd, 1000)
        assert None not in found
        mean = sum(each for each in found if each) / PROVIDERS
        assert 0.5 < mean / WATCH.audits_needed(fraction) < 1.5
    assert WATCH.audits_needed(0.0) == math.inf


def test_one_auditor_alone_accuses_nobody_where_three_have_to() -> None:
    test, standing = replace(WATCH, share=1 / 3), Standing()
    for _ in range(1000):
        standing = after(test, standing, "liar", odd=True)
    assert not standing.accused
    for auditor in ("b", "c"):
        for _ in range(20):
            standing = after(test, standing, auditor, odd=True)
    assert standing.accused


def test_an_accusation_stays() -> None:
    standing = Standing(score=WATCH.border, accused=True)
    for _ in range(100):
        standing = after(WATCH, standing, "a", odd=False)
    assert standing.accused
    assert standing.score == 0


@pytest.mark.parametrize(
    "wrong",
    [{"honest": 0.0}, {"honest": 0.6}, {"cheat": 1.0}, {"share": 0.0}, {"false_per_year": 1.0}],
)
def test_what_is_no_test_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadTest):
        replace(WATCH, **wrong)
