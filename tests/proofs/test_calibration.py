import json
import math
from contextlib import suppress

import numpy as np
import pytest

from archipel.proofs.binomial import at_most, lower, upper
from archipel.proofs.calibration import CHEATS
from archipel.proofs.pairs import FLOORS, PLAIN, pair_of
from archipel.proofs.plan import Plan
from archipel.proofs.record import BadCalibration, Calibration, Pair
from archipel.records.fingerprints import FIGURES


def answers(size: float, num: int, seed: int = 0) -> list[dict[str, float]]:
    drawn = np.random.default_rng(seed).random((num, len(FLOORS))) * size
    return [dict(zip(FLOORS, map(float, row), strict=True)) for row in drawn]


PLAN = Plan()


def paired(cheats: dict[str, float], plan: Plan = PLAN) -> Pair:
    found = {name: answers(size, 20, 7) for name, size in cheats.items()}
    return pair_of("fp32", "bf16", answers(1, 200), found, plan)


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    assert math.isclose(upper(0, 59, 0.95), 1 - 0.05 ** (1 / 59), rel_tol=1e-9)
    assert math.isclose(upper(3, 20, 0.975), 0.378927, abs_tol=1e-5)
    assert math.isclose(lower(3, 20, 0.975), 0.032071, abs_tol=1e-5)
    assert (upper(5, 5, 0.95), lower(0, 5, 0.95), upper(0, 0, 0.95)) == (1, 0, 1)
    assert math.isclose(at_most(2, 4, 0.5), 11 / 16)


def test_new_honest_answers_pass_as_often_as_stated() -> None:
    """The bound may fail in one of 20 calibrations; with no headroom at all."""
    plan, failed = Plan(headroom=1.0), 0
    for seed in range(50):
        honest = answers(1, 40, seed)
        pair = pair_of("fp32", "fp32", honest, {}, plan)
        new = answers(1, 200, 1000 + seed)
        differs = sum(pair.judge(each, 100) == "differs" for each in new)
        failed += at_most(differs - 1, len(new), pair.false_at_most) > 0.95
    assert failed <= 2


def test_a_pair_is_refused_where_a_cheat_passes() -> None:
    apart = paired({"int4": 1e6})
    assert apart.usable
    assert apart.cheats["int4"].caught == 20
    near = paired({"int4": 1e6, "int8": 1.2})
    assert (near.usable, near.overlaps, near.thresholds) == (False, ("int8",), {})
    with pytest.raises(BadCalibration, match="calibrate again"):
        near.judge(answers(1, 1)[0], 100)
    partly = paired({"int8": 1.55})
    assert 0 < partly.cheats["int8"].caught < 20
    assert not partly.usable
    left = paired({"int8": 1.2}, Plan(sequential=("int8",)))
    assert left.usable
    assert left.watched["int8"].honest < left.watched["int8"].cheat


def test_a_cheat_that_fingerprints_alone_show_is_told_apart_from_one_that_anything_shows() -> None:
    seen = answers(1, 20, 7)
    shown = [{**each, "mantissas_mean": 1e6} for each in seen]
    pair = pair_of(
        "bf16", "bf16", answers(1, 200), {"int8": shown, "int4": answers(1e6, 20, 7)}, PLAN
    )
    assert (pair.usable, pair.overlaps, pair.blind) == (True, (), ("int8",))
    assert (pair.cheats["int8"].caught, pair.cheats["int8"].plainly) == (20, 0)
    assert (pair.cheats["int4"].caught, pair.cheats["int4"].plainly) == (20, 20)


def test_what_is_thin_abstains_and_what_is_no_number_differs() -> None:
    pair = paired({})
    good = answers(0.1, 1)[0]
    assert pair.judge(good, 100) == "agrees"
    assert pair.judge(good, 31) == "abstains"
    assert pair.judge({**good, "flips": math.nan}, 100) == "differs"
    with pytest.raises(BadCalibration):
        pair.judge({"flips": 0.0}, 100)


def record() -> Calibration:
    return Calibration(
        model="sha256:" + "0" * 64,
        machine="x",
        made="2026-01-01T00:00:00+00:00",
        confidence=0.95,
        plan={"groups": 20, "slots": [1, 8]},
        pairs=(paired({"int4": 1e6}), paired({"int8": 1.2}).model_copy(update={"prover": "bf16"})),
    )


def test_a_record_is_read_as_it_was_written_and_no_flipped_byte_passes() -> None:
    data = record().to_bytes()
    found = Calibration.from_bytes(data)
    assert found.to_bytes() == data
    assert found.pair("bf16", "bf16").overlaps == ("int8",)
    for place in range(0, len(data), 41):
        spoilt = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with suppress(BadCalibration):
            assert Calibration.from_bytes(spoilt) == found  # a blank between members


def test_a_record_without_a_digest_is_none() -> None:
    told = json.loads(record().to_bytes())
    del told["sha256"]
    with pytest.raises(BadCalibration):
        Calibration.from_bytes(json.dumps(told).encode())
    with pytest.raises(BadCalibration, match="no pair"):
        record().pair("int8", "fp32")


def test_there_is_a_floor_for_every_figure_and_the_command_knows_every_cheat() -> None:
    from archipel.cli.proofs_calibrate import command
    from archipel.proofs.forced import NAMES

    assert set(FLOORS) == {*NAMES, *FIGURES}
    assert set(PLAIN) == set(NAMES)
    option = next(each for each in command.params if each.name == "sequential")
    assert tuple(option.type.choices) == CHEATS  # type: ignore[attr-defined]
