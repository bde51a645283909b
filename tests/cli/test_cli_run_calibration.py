"""What `archipel run open` says of the calibration that a run cites: whose it is, its limits, and what they do not show."""

from pathlib import Path

import pytest

from archipel.cli.run_calibration import tell_audits
from archipel.identity import Identity, sign
from archipel.proofs.pairs import FLOORS
from archipel.proofs.record import RECORD_TYPE, Calibration, Caught, Pair, Watch
from archipel.records.recipe import Recipe
from archipel.work.measuring import CALIBRATION
from tiny import tiny_recipe

SIGNER = Identity.from_seed(b"s" * 32)
INT8 = Caught(answers=20, caught=18, at_least=0.7, by={}, plainly=0)
OLDER = Caught(answers=20, caught=20, at_least=0.8, by={}, plainly=0)
WATCH = Watch(figure="logprob_mean", border=1e-3, honest=0.1, cheat=0.8)


def recipe(*, fingerprints: bool = False, **sampling: str) -> Recipe:
    told = tiny_recipe(2, 0).model_dump(mode="json")
    told["sampling"] |= sampling
    told["audit"] |= {"fingerprints": fingerprints}
    return Recipe.model_validate(told)


NAMED = {"engine": "archipel", "precision": "bf16", "device": "cpu"}


def written(folder: Path, *, signed: bool = False, **changes: object) -> Path:
    pair = Pair(
        prover="bf16", verifier="bf16", honest=120, usable=True, thresholds=dict.fromkeys(FLOORS, 0.02),
        false_at_most=0.049, cheats={"int8": INT8, "older": OLDER}, overlaps=("int8",), watched={"int8": WATCH},
        blind=("int8", "older"), watched_blind={"int8": WATCH},
    ).model_copy(update=changes)  # fmt: skip
    data = Calibration(
        model="sha256:" + "0" * 64, machine="x86_64 Linux", made="2026-11-26T10:00:00+00:00", confidence=0.95,
        plan={"temperature": 1.0, "sequential": ["int8", "older"]}, pairs=(pair,),
    ).to_bytes()  # fmt: skip
    whole = sign(SIGNER, data, RECORD_TYPE).to_json() if signed else data
    (folder / CALIBRATION).write_bytes(whole)
    return folder


def said(capsys: pytest.CaptureFixture[str], of: Recipe, folder: Path) -> str:
    tell_audits(of, folder)
    return capsys.readouterr().err


def test_who_signed_when_and_which_limits_are_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = said(capsys, recipe(**NAMED), written(tmp_path, signed=True))
    assert f"signed by {SIGNER.did}, measured 2026-11-26T10:00:00+00:00 on x86_64 Linux" in told
    assert "tokens that the noise does not select 2.00%" in told
    assert "in at most 4.90% of audits (120 were measured)" in told
    assert "mantissas" not in told
    assert "signed by nobody" in said(capsys, recipe(**NAMED), written(tmp_path))


def test_cheats_that_overlap_are_warned_of_and_what_nothing_tells_is_called_that(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = said(capsys, recipe(**NAMED), written(tmp_path))
    assert (
        "warning: some of 20 answers of int8 passed for honest; sums accuse it after some" in told
    )
    assert "warning: some of 20 answers of older passed for honest; no sum tells it either" in told
    assert "fingerprints would show older in every answer" in told
    told = said(capsys, recipe(fingerprints=True, **NAMED), written(tmp_path))
    assert "mantissas off by 0.02 of 128" in told
    assert "of older" not in told


def test_without_a_record_it_is_said_how_to_make_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "will not be audited" in said(capsys, recipe(**NAMED), tmp_path)
    assert said(capsys, recipe(), tmp_path) == ""
