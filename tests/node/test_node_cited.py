"""What an opening says of engines and of a calibration beside the weights, and what a node states of itself."""

import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from archipel.identity import Identity, sign
from archipel.node.cited import CALIBRATION, NotCited, audited_by
from archipel.proofs.pairs import FLOORS
from archipel.proofs.record import RECORD_TYPE, Calibration, Pair
from archipel.records.engine_classes import CLASSES, class_of
from archipel.records.programmes.rl import WORDS, RlPace
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.records.terms import Vocabulary
from archipel.work import measuring
from archipel.work.calibrated import is_by
from archipel.work.kind import EngineChoice, MachineUnfit, by_class
from tiny import tiny_recipe

NAMED = {"engine": "archipel", "precision": "fp32", "device": "cpu"}


def recipe(**sampling: object) -> Recipe:
    told = tiny_recipe(2, 0).model_dump(mode="json")
    told["sampling"] |= sampling
    return Recipe.model_validate(told)


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    pair = Pair(
        prover="fp32", verifier="fp32", honest=40, usable=True, thresholds=dict.fromkeys(FLOORS, 1e-5),
        false_at_most=0.1, cheats={}, overlaps=(), watched={},
    )  # fmt: skip
    record = Calibration(
        model="sha256:" + "0" * 64, machine="x", made="now", confidence=0.95, plan={"temperature": 1.0}, pairs=(pair,)
    )  # fmt: skip
    (tmp_path / CALIBRATION).write_bytes(record.to_bytes())
    return tmp_path / CALIBRATION


def pace(of: Recipe) -> RlPace:
    found = WORDS.pace_of(of, Vocabulary(32, (2,)))
    assert isinstance(found, RlPace)
    return found


def test_a_recipe_that_names_an_engine_says_so_in_its_pace_and_bytes_and_others_are_as_ever() -> (
    None
):
    named = recipe(**NAMED, noise="drawn")
    told = pace(named)
    assert (told.engine, told.noise, told.needs) == (
        "archipel-fp32-cpu",
        "drawn",
        "archipel-fp32-cpu",
    )
    assert recipe_from_canonical(named.canonical_bytes()) == named
    assert named.openings == (named,)
    plain = recipe().canonical_bytes()
    assert not any(word in plain for word in (b"precision", b"noise", b"device", b"false_acc"))


@pytest.mark.parametrize(
    "wrong",
    [{"engine": "archipel"}, {"engine": "any", "precision": "fp32", "device": "cpu"}, {**NAMED, "device": None},
     {"engine": "exact", "variant": "w7a8", "precision": "fp32"}],
)  # fmt: skip
def test_precision_and_device_stand_with_an_engine_s_name_and_with_it_alone(
    wrong: dict[str, object],
) -> None:
    with pytest.raises(ValidationError, match="expected both with one of archipel"):
        recipe(**wrong)


def test_an_opening_cites_the_record_beside_the_weights(calibration: Path) -> None:
    audit = audited_by(recipe(**NAMED), calibration)["audit"]
    assert audit.measures is not None
    assert set(audit.measures.limits.values()) == {10_000}
    assert audited_by(recipe(), calibration) == {}
    assert CALIBRATION == measuring.CALIBRATION


def asking(of: Recipe, **changes: object) -> Recipe:
    audit = of.audit.model_copy(update={"fingerprints": True})
    return of.model_copy(update={"audit": audit, **changes})


def test_a_run_that_asks_for_fingerprints_has_limits_of_theirs_or_is_not_opened(
    calibration: Path,
) -> None:
    asked = asking(recipe(**NAMED))
    measures = audited_by(asked, calibration)["audit"].measures
    assert measures is not None
    assert set(measures.limits) == set(FLOORS)
    assert b"fingerprints" in asked.canonical_bytes()
    assert b"fingerprints" not in recipe(**NAMED).canonical_bytes()
    for of, beside, message in (
        (asked, None, "has none"),
        (asking(recipe()), calibration, "names no engine"),
        (asking(recipe(**NAMED), episode=object()), calibration, "not for runs with"),
    ):
        with pytest.raises(NotCited, match=message):
            audited_by(of, beside)


def test_a_signed_record_is_cited_by_its_own_digest_and_one_of_a_wrong_signature_is_not(
    calibration: Path,
) -> None:
    plain = audited_by(recipe(**NAMED), calibration)["audit"].measures
    data = calibration.read_bytes()
    whole = sign(Identity.from_seed(b"s" * 32), data, RECORD_TYPE).to_json()
    calibration.write_bytes(whole)
    assert audited_by(recipe(**NAMED), calibration)["audit"].measures == plain
    assert plain is not None
    assert is_by(plain, whole, "archipel-fp32-cpu")
    assert is_by(plain, data, "archipel-fp32-cpu")
    at = whole.index(b'"sig":"') + 9
    forged = whole[:at] + (b"B" if whole[at : at + 1] == b"A" else b"A") + whole[at + 1 :]
    calibration.write_bytes(forged)
    assert not is_by(plain, forged, "archipel-fp32-cpu")
    with pytest.raises(NotCited, match="signature"):
        audited_by(recipe(**NAMED), calibration)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({**NAMED, "temperature": 0.5}, "measured at temperature 1.0, the run samples at 0.5"),
        ({**NAMED, "precision": "bf16"}, "no pair of prover bf16"),
        ({**NAMED, "engine": "vllm"}, "cannot be measured"),
    ],
)
def test_a_record_that_does_not_fit_is_not_cited(
    calibration: Path, sampling: dict[str, object], message: str
) -> None:
    with pytest.raises(NotCited, match=message):
        audited_by(recipe(**sampling), calibration)
    damaged = calibration.with_name("damaged.json")
    shutil.copy(calibration, damaged)
    damaged.write_bytes(damaged.read_bytes().replace(b"40", b"41", 1))
    with pytest.raises(NotCited, match="no calibration"):
        audited_by(recipe(**NAMED), damaged)


def test_a_machine_is_of_one_class_and_does_no_work_of_another() -> None:
    assert class_of("archipel", "float32", "cpu") == "archipel-fp32-cpu"
    assert class_of("vllm", "bfloat16", "cuda:1") == "vllm-bf16-cuda"
    assert class_of("archipel", "float32", "mps") is None
    assert len(CLASSES) == 12
    assert by_class(EngineChoice(), None) == {}
    assert by_class(EngineChoice(), "archipel-fp32-cpu") == {"engine": "archipel-fp32-cpu"}
    with pytest.raises(
        MachineUnfit, match="samples by archipel-fp32-cpu, the run asks for archipel-bf16-cpu"
    ):
        by_class(EngineChoice(), "archipel-bf16-cpu")
