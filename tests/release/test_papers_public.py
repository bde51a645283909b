"""Every paper and signature of a release, looked at by the tool of whoever publishes its format.

The tools need other versions of what archipel needs, so an interpreter of their own runs `papers_trial.py`: the one that
ARCHIPEL_PAPERS_PYTHON names, or that of `.venv-papers`, which `make test-papers` makes.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from archipel.identity import Identity, did_to_public_key
from archipel.release.oms.bundle import read_bundle, verify
from archipel.release.oms.folder import compare_folder, sign_folder
from archipel.release.oms.key import PublicKey, SigningKey
from archipel.release.papers.model_card import model_card
from archipel.release.papers.writing import written
from cli_words import told
from people import identity
from release.known import STATED, digest, facts, hostile, index
from releasing import lab_home
from tiny import NAME

ROOT = Path(__file__).parents[2]
NAMED = os.environ.get("ARCHIPEL_PAPERS_PYTHON")  # noqa: TID251  of this test alone
PYTHON = Path(NAMED) if NAMED else ROOT / ".venv-papers/bin/python"
TRIAL_LIMIT_S = 300
KEY = SigningKey.from_scalar(0xA5C1)


def write_release(folder: Path, words: tuple, boss: Identity) -> None:
    """Papers, a signed model directory, and what the tools are asked."""
    for place, data in written(*words, boss).items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "data/lines.jsonl").write_text('{"a": 1}\n')
    model = folder / "model"
    (model / "blobs/ab").mkdir(parents=True)
    (model / "model.safetensors").write_bytes(bytes(range(256)) * 5000)
    for place in ("blobs/ab/c", "blobs-2", "blobs.3", "Z", ".hidden", "with a space é"):
        (model / place).write_bytes(place.encode())
    (model / "release.sig").write_bytes(sign_folder(model, "a model", KEY, "release.sig"))
    KEY.save(folder / "key")
    (folder / "key.pem").write_bytes(KEY.public.pem)
    asked = {"did": boss.did, "public": did_to_public_key(boss.did).hex()}
    (folder / "asked.json").write_text(json.dumps(asked))


def tried(folder: Path) -> dict:
    """What the tools find."""
    words = [str(PYTHON), str(Path(__file__).with_name("papers_trial.py")), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=TRIAL_LIMIT_S)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release as the tools left it."""
    if not PYTHON.is_file():
        pytest.skip(
            f"no interpreter with the public tools: {PYTHON} is not there; run `make test-papers`, or name one in "
            "ARCHIPEL_PAPERS_PYTHON"
        )
    folder = tmp_path_factory.mktemp("release")
    write_release(folder, (facts(), STATED, index()), identity("boss"))
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict:
    return tried(folder)


@pytest.mark.slow
def test_model_signing_takes_our_signature_and_finds_a_changed_byte(
    found: dict, folder: Path
) -> None:
    assert found["model_signing"] == {"ours": True, "signed": True, "changed": False}


@pytest.mark.slow
def test_we_take_what_model_signing_signs_and_find_a_changed_byte(
    found: dict, folder: Path
) -> None:
    assert found["model_signing"]["signed"]
    key = PublicKey.from_pem((folder / "key.pem").read_bytes())
    signed = verify(read_bundle((folder / "theirs.sig").read_bytes()), key)
    model = folder / "model"
    assert compare_folder(model, signed, "release.sig").is_same
    other = folder / "other"
    shutil.copytree(model, other)
    (other / "model.safetensors").write_bytes(bytes(range(256)) * 4999 + bytes(256))
    assert compare_folder(other, signed, "release.sig").changed == ("model.safetensors",)


@pytest.mark.slow
def test_statements_are_signed_and_formed_as_their_publishers_read_them(found: dict) -> None:
    names = {"start", "updates-1-2", "updates-3-5", "evaluation-5-40"}
    assert found["securesystemslib"] == {f"{name}.dsse.json": True for name in names}
    assert found["in_toto"] == {f"{name}.json": identity("learner").did for name in names}


@pytest.mark.slow
def test_the_bill_of_materials_is_valid_by_the_published_model(found: dict) -> None:
    assert found["spdx"]["missing"] == []
    kinds = found["spdx"]["kinds"]
    assert kinds["ai_AIPackage"] == 2
    assert kinds["dataset_DatasetPackage"] == 3
    assert kinds["simplelicensing_LicenseExpression"] >= 3


@pytest.mark.slow
def test_the_data_are_valid_by_mlcroissant(found: dict) -> None:
    assert found["mlcroissant"]["errors"] == []
    assert found["mlcroissant"]["warnings"] == []
    assert found["mlcroissant"]["files"] == ["data/lines.jsonl"]


@pytest.mark.slow
def test_the_citation_is_valid_by_cffconvert(found: dict) -> None:
    assert "title = {Sorting under a secret order}" in found["cffconvert"]


@pytest.mark.slow
def test_papers_stay_valid_whatever_a_stranger_said(tmp_path: Path, found: dict) -> None:
    write_release(tmp_path, hostile(), identity("boss"))
    said = tried(tmp_path)
    assert said["mlcroissant"]["errors"] == []
    assert said["spdx"]["missing"] == []
    assert said["cffconvert"].startswith("@misc")
    assert all(said["securesystemslib"].values())
    assert set(said["in_toto"]) == set(found["in_toto"])


@pytest.mark.slow
def test_a_bundle_that_was_made_is_valid_by_every_tool(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of facts that never were, but of a lab's ledger, by the command."""
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "own"))
    boss = identity("boss")
    boss.save(tmp_path / "boss.key")
    lab_home(tmp_path / "lab")
    model = tmp_path / "model"
    (tmp_path / "words.toml").write_text('[licences]\ndefault = "CC-BY-4.0"\n')
    words = ["--home", str(tmp_path / "lab"), "--operator-key", str(tmp_path / "boss.key")]
    words += ["--stated", str(tmp_path / "words.toml")]
    code, made = told("release", "make", NAME, *words, "--out", model, "--json")
    assert code == 0
    for place in ("provenance", "data", "CITATION.cff", "sbom.spdx.json"):
        (tmp_path / place).symlink_to(model / place)
    (tmp_path / "key").symlink_to(tmp_path / "own/release/release.key")
    (tmp_path / "key.pem").symlink_to(model / "release.pem")
    asked = {"did": boss.did, "public": did_to_public_key(boss.did).hex()}
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    said = tried(tmp_path)
    assert said["model_signing"] == {"ours": True, "signed": True, "changed": False}
    assert len(said["securesystemslib"]) == len(said["in_toto"]) == 6
    assert all(said["securesystemslib"].values())
    assert said["spdx"]["missing"] == []
    assert (said["mlcroissant"]["errors"], said["mlcroissant"]["warnings"]) == ([], [])
    assert said["cffconvert"].startswith("@misc")
    card = ModelCard((model / "README.md").read_text())
    assert card.data.pipeline_tag == "text-generation"
    assert made["weights"] in card.text


def test_hubs_read_the_model_card() -> None:
    """The hub's own library, which checks licence, base model and evaluation results without a network."""
    card = ModelCard(model_card(facts(), STATED, index()).decode())
    assert card.data.license_name == "openmdw-1.1"
    (result, other) = sorted(card.data.eval_results, key=lambda each: each.metric_type)
    assert (result.metric_type, result.metric_value) == ("loss", 0.125)
    assert other.metric_type == "score_micro"
    assert digest("weights 5") in card.text
