"""A bundle's grade: by its index and its bytes, lifted by a rebuild of this release alone."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.records.canonical import sha256_digest
from archipel.release.index import Component, Released
from archipel.release.openness import mof
from archipel.release.openness.card import Grade, PartCard, read_grade
from archipel.release.openness.grade import CAN_BE_REBUILT, CannotGrade, grade
from archipel.release.openness.indexed import PART_OF
from archipel.release.openness.rebuilt import Rebuilt
from archipel.release.places import blob_place
from model_folders import APACHE, CODE, WHOLE, WORDS, archive, safetensors, write

DELTA = b"what changed between two versions"
BLOB = blob_place(f"sha256:{hashlib.sha256(DELTA).hexdigest()}")
FILES: dict[str, bytes | str] = {
    "README.md": f"# A model\n{WORDS}",
    "config.json": '{"model_type": "tiny"}',
    "model.safetensors": safetensors(),
    BLOB: DELTA,
    "code/archipel-0.1.0.tar.gz": archive({"archipel-0.1.0/a.py": CODE, "archipel-0.1.0/__init__.py": ""}),
    "code/requirements.lock": "torch==2.13.0\n",
    "data/rollouts.json": '[{"tokens": 3}]',
    "data/croissant.json": json.dumps(
        {"distribution": [{"contentUrl": "rollouts.json", "sha256": hashlib.sha256(b'[{"tokens": 3}]').hexdigest()}]}
    ),
    "environment/environment.json": '{"name": "sorting"}',
    "papers/data-card.md": f"# Data\n{WORDS}",
    "papers/technical-report.md": f"# Report\n{WORDS}",
    "papers/paper.md": f"# Paper\n{WORDS}",
    "papers/evaluation-results.json": '{"accuracy": 1}',
    "LICENSES/Apache-2.0.txt": APACHE,
}  # fmt: skip
CODE_PLACES = ("code/archipel-0.1.0.tar.gz",)
PLACES: dict[str, tuple[str, ...]] = {
    "architecture": ("config.json", *CODE_PLACES),
    "parameters": ("model.safetensors",),
    "versions": (BLOB,),
    "dataset": ("data",),
    "data_preprocessing": CODE_PLACES,
    "training_code": CODE_PLACES,
    "inference_code": CODE_PLACES,
    "evaluation_code": CODE_PLACES,
    "evaluation_data": ("environment",),
    "evaluation_results": ("papers/evaluation-results.json",),
    "model_card": ("README.md",),
    "data_card": ("papers/data-card.md",),
    "technical_report": ("papers/technical-report.md",),
    "research_paper": ("papers/paper.md",),
    "ledger": ("ledger",),
}
KEY = "did:key:z6Mk" + "h" * 44


def index(licence: str | None = "OpenMDW-1.1", **licences: str | None) -> Released:
    return Released(
        title="x",
        run="x",
        lab=KEY,
        origin="lab",
        tree_size=1,
        tree_root=sha256_digest(b""),
        version=1,
        weights=sha256_digest(b""),
        at_ms=1,
        components=tuple(
            Component(kind=kind, name=kind, places=places, licence=licences.get(kind, licence))  # type: ignore[arg-type]
            for kind, places in PLACES.items()
        ),
    )


def bundle(folder: Path, made: Released | None = None, **changes: bytes | str) -> Path:
    write(folder, FILES | changes)
    (folder / "release.json").write_bytes((made or index()).to_bytes())
    return folder


def part(found: Grade, name: str) -> PartCard:
    return next(each for each in found.parts if each.component == name)


def test_a_whole_bundle_is_class_i_by_its_bytes(tmp_path: Path) -> None:
    found = grade(bundle(tmp_path))
    assert (found.of, found.classes.stated, found.classes.present) == ("bundle", 1, 1)
    assert found.release == sha256_digest((tmp_path / "release.json").read_bytes())
    assert read_grade(found.to_bytes()) == found
    (tmp_path / "openness.json").write_bytes(found.to_bytes())
    (tmp_path / "release.sig").write_bytes(b"{}")
    assert grade(tmp_path) == found, "the grade does not depend on itself, nor on what signs it"


@pytest.mark.parametrize("file", [BLOB, "data/rollouts.json", "model.safetensors", "code/archipel-0.1.0.tar.gz"])  # fmt: skip
def test_a_file_cut_short_takes_its_component_out(tmp_path: Path, file: str) -> None:
    content = FILES[file]
    assert isinstance(content, bytes | str)
    found = grade(bundle(tmp_path, **{file: content[: len(content) // 2]}))
    assert found.classes.present != 1
    assert any(each.why and not each.counts for each in found.parts if each.is_required)


def test_what_the_index_names_and_is_not_there_is_only_stated(tmp_path: Path) -> None:
    bundle(tmp_path)
    (tmp_path / "papers/data-card.md").unlink()
    found = grade(tmp_path)
    assert (part(found, mof.DATA_CARD).level, found.classes.present) == ("stated", 0)


def test_licences_are_each_components_own(tmp_path: Path) -> None:
    found = grade(bundle(tmp_path, index(dataset=None, evaluation_data="Apache-2.0")))
    assert not part(found, mof.DATASETS).counts
    assert not part(found, mof.EVALUATION_DATA).fits, "a code licence on data"
    assert part(found, mof.PARAMETERS).counts
    texts = {"LICENSES/OpenMDW-1.1.txt": APACHE}
    lying = grade(bundle(tmp_path / "lying", **texts))
    assert not any(each.counts for each in lying.parts)


def test_a_rebuild_lifts_what_it_made_and_nothing_else(tmp_path: Path) -> None:
    bundle(tmp_path)
    whole = {kind: True for kind, name in PART_OF.items() if name in CAN_BE_REBUILT}
    found = grade(tmp_path, whole)
    assert found.classes.reproduced == 1
    assert part(found, mof.CARD).level == "present"
    assert part(found, mof.PARAMETERS).level == "reproduced"
    less = grade(tmp_path, whole | {"parameters": False})
    assert (less.classes.present, less.classes.reproduced) == (1, 0)
    (tmp_path / "model.safetensors").write_bytes(b"")
    broken = grade(tmp_path, whole)
    assert part(broken, mof.PARAMETERS).level == "stated", (
        "a report about other bytes lifts nothing"
    )


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[" * 100_000, b'{"form":2}', index().to_bytes()[:-1], b" " + index().to_bytes()]
)  # fmt: skip
def test_an_index_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    bundle(tmp_path)
    (tmp_path / "release.json").write_bytes(data)
    with pytest.raises(CannotGrade, match=tmp_path.name):
        grade(tmp_path)


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(command, ["release", "openness", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_grades_folders_and_files_for_people_and_machines(tmp_path: Path) -> None:
    bundle(tmp_path / "b")
    assert "Class I - Open Science Model, by the bytes of this bundle" in run(tmp_path / "b")
    card = tmp_path / "card.json"
    found = json.loads(run(tmp_path / "b", "--json", "--card", card))
    assert found["classes"] == {"present": 1, "reproduced": 0, "stated": 1}
    assert read_grade(card.read_bytes()) == grade(tmp_path / "b")
    stranger = write(tmp_path / "s", WHOLE)
    assert "by the bytes of this directory" in run(stranger, "--at-least", "I")
    models = tmp_path / "models"
    claims = {
        "release": {"name": "x", "license": {"distribution": {"name": "MIT"}}, "components": []}
    }
    write(models, {"x.yml": json.dumps(claims)})
    assert "Unclassified, if all that x says" in run(models / "x.yml")
    assert "0 in class I, 0 in class II, 0 in class III, 1 unclassified" in run(models, "--all")


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    from archipel.cli.doors import Mendable

    def refusal(*arguments: str | Path) -> str:
        result = CliRunner().invoke(command, ["release", "openness", *map(str, arguments)])
        assert result.exit_code != 0
        assert isinstance(result.exception, Mendable | SystemExit)
        return f"{result.output}{result.exception}"

    bad = tmp_path / "bad.yml"
    bad.write_text("a: *b")
    assert "not YAML" in refusal(bad) or "anchor" in refusal(bad)
    other = tmp_path / "rebuilt.json"
    other.write_bytes(Rebuilt(release=sha256_digest(b"x"), kinds={"parameters": True}).to_bytes())
    assert "speaks of release" in refusal(folder, "--rebuilt", other)
    other.write_bytes(b"{}")
    assert "no rebuild's report" in refusal(folder, "--rebuilt", other)
    (folder / "model.safetensors").write_bytes(b"")
    assert "lower than III" in refusal(folder, "--at-least", "III")
    assert "0 model files" in refusal(folder / "data", "--all")
