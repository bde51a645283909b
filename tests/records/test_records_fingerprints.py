"""Fingerprints travel with the rollouts of runs whose limits ask for them, and nowhere else a byte changes."""

from dataclasses import replace

import pytest

from archipel.records.audits import AuditTerms
from archipel.records.fingerprints import FIELD, FIGURES, WrongFingerprints, num_bytes
from archipel.records.measures import Measures, SumTest
from archipel.records.payload import BadPayload
from archipel.records.programmes import rl
from archipel.records.recipe import parse_recipe
from archipel.records.rollouts import (
    Rollout,
    RolloutBounds,
    bounds_of,
    check_rollouts,
    max_rollout_bytes,
    pack_rollouts,
    unpack_rollouts,
)
from archipel.records.terms import Vocabulary

BOUNDS = RolloutBounds("r.1", "p", 2, 2, 40, 16, (1,), fingerprints=True)


def proof(rows: int, modulus: int = FIELD) -> bytes:
    return modulus.to_bytes(2, "big") + bytes(range(8)) * rows


def rollout(length: int) -> Rollout:
    told = b"".join(proof(min(32, length - start)) for start in range(0, length, 32))
    return Rollout((*(5,) * (length - 1), 1), (-0.5,) * length, finished=True, fingerprints=told)


GROUPS = [[rollout(3), rollout(40)], [rollout(1), rollout(32)]]


def packed(groups: list[list[Rollout]] = GROUPS) -> bytes:
    return pack_rollouts(groups, work="r.1", policy="p")


def test_fingerprints_come_back_as_they_were_made_in_eight_bytes_a_token() -> None:
    assert unpack_rollouts(packed(), BOUNDS) == GROUPS
    longest = [[rollout(40)] * 2] * 2
    assert len(packed(longest)) <= max_rollout_bytes(BOUNDS)
    plain = [[replace(each, fingerprints=None) for each in group] for group in GROUPS]
    more = len(packed()) - len(packed(plain))
    assert 0 <= more - sum(num_bytes(n) for n in (3, 40, 1, 32)) < 128
    assert num_bytes(32) == 258


def test_they_travel_only_where_the_run_asks_for_them() -> None:
    with pytest.raises(BadPayload, match="tensors"):
        check_rollouts(packed(), replace(BOUNDS, fingerprints=False))
    bare = [[replace(each, fingerprints=None) for each in group] for group in GROUPS]
    with pytest.raises(BadPayload, match="tensors"):
        check_rollouts(packed(bare), BOUNDS)


def spoilt(told: bytes) -> list[list[Rollout]]:
    return [[replace(GROUPS[0][0], fingerprints=told), GROUPS[0][1]], GROUPS[1]]


@pytest.mark.parametrize(
    "told",
    [
        b"", proof(3)[:-2], proof(3) + b"\0\0", proof(3, 0), proof(3, 11), proof(3, FIELD + 1),
        proof(3)[:-2] + FIELD.to_bytes(2, "big"), proof(3)[:-2] + b"\xff\xff", proof(2),
    ],
)  # fmt: skip
def test_what_no_honest_node_sends_is_refused(told: bytes) -> None:
    with pytest.raises(WrongFingerprints):
        check_rollouts(packed(spoilt(told)), BOUNDS)


def test_a_modulus_that_the_field_has_too_hides_no_wrong_coefficient() -> None:
    """As many numbers equal the field's as there are proofs, but one of them stands elsewhere."""
    wrong = proof(3, 12)
    told = wrong[:2] + FIELD.to_bytes(2, "big") + wrong[4:]
    with pytest.raises(WrongFingerprints):
        check_rollouts(packed(spoilt(told)), BOUNDS)


def test_a_run_asks_for_them_exactly_if_its_limits_name_a_figure_of_theirs() -> None:
    recipe = parse_recipe('[run]\nname = "r"\nversions = 1\n[environment]\nname = "secret_order"\n')
    test = SumTest(odd_micro=1, even_micro=-1, accuses_micro=1)

    def pace(*names: str) -> rl.RlPace:
        measures = Measures(
            calibration="sha256:" + "0" * 64, limits=dict.fromkeys(names, 1), least_drawn=1, tests=(test,)
        )  # fmt: skip
        terms: AuditTerms = rl.audit_terms(recipe, measures)
        made = rl.WORDS.pace_of(recipe, Vocabulary(16, (1,)))
        return made.model_copy(update={"audit": terms})

    for name in FIGURES:
        assert bounds_of(pace("flips", name), work="w", policy="p", num_groups=1).fingerprints
    assert not bounds_of(pace("flips"), work="w", policy="p", num_groups=1).fingerprints
