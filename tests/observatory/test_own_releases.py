"""Releases of one's own: graded from their bytes like anybody else's, in a new snapshot beside the old."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.observatory.folder import read, write
from archipel.observatory.own import CannotAdd, added, graded
from archipel.observatory.rows import UNKNOWN
from archipel.records.canonical import sha256_digest
from archipel.release.index import Component, Parent, Released
from model_folders import safetensors
from model_folders import write as put
from observed import maker, model, snapshot

LAB = "did:key:z6Mk" + "h" * 44
BEFORE = snapshot(maker("a"), model("m"))


def release(folder: Path, licence: str | None = "OpenMDW-1.1", **other: object) -> Path:
    """Weights and a config alone."""
    put(folder, {"config.json": '{"model_type": "tiny"}', "model.safetensors": safetensors()})
    parts = (("architecture", "config.json"), ("parameters", "model.safetensors"))
    index = Released(
        title="x\u202ey", run="tiny", lab=LAB, origin="lab", tree_size=1, tree_root=sha256_digest(b""),
        version=3, weights=sha256_digest(b""), at_ms=1_767_225_600_000,
        components=tuple(
            Component(kind=kind, name=kind, places=(where,), licence=licence)  # type: ignore[arg-type]
            for kind, where in parts
        ),
        **other,  # type: ignore[arg-type]
    )  # fmt: skip
    (folder / "release.json").write_bytes(index.to_bytes())
    return folder


def test_a_release_is_a_model_whose_unknowns_stay_unknown(tmp_path: Path) -> None:
    found = graded(release(tmp_path / "r"))
    made = added(BEFORE, (found,), "2026-06-02", 5)
    ours = made.models[f"{LAB}/tiny@3"]
    assert (ours.released, ours.access, ours.params) == ("2026-01-01", "open", UNKNOWN)
    assert ours.name == "x y"
    assert made.organisations[LAB].country == UNKNOWN
    assert [row.grade for row in made.openness] == [str(found.grade.classes.present)]
    assert [row.answer for row in made.disclosures] == ["undisclosed"]
    assert made.manifest.made_from == (BEFORE.digest,)
    assert made.models["m"] == BEFORE.models["m"]
    with pytest.raises(CannotAdd, match="in this snapshot already"):
        added(made, (found,), "2026-06-03", 6)


def test_weights_count_as_open_only_by_their_bytes_and_licence(tmp_path: Path) -> None:
    closed = graded(release(tmp_path / "nolicence", licence=None))
    assert [m.access for m in added(BEFORE, (closed,), "2026-06-02", 5).models.values()] == [
        "restricted", "open",
    ]  # fmt: skip
    gone = release(tmp_path / "gone")
    (gone / "model.safetensors").unlink()
    made = added(BEFORE, (graded(gone),), "2026-06-02", 5)
    assert made.models[f"{LAB}/tiny@3"].access == "closed"
    parent = Parent(relation="fine-tuned from", name="some base", weights=sha256_digest(b""))
    child = graded(release(tmp_path / "child", parents=(parent,)))
    assert added(BEFORE, (child,), "2026-06-02", 5).models[f"{LAB}/tiny@3"].parents == UNKNOWN


def test_the_command_writes_a_new_snapshot_and_leaves_the_old(tmp_path: Path) -> None:
    write(BEFORE, tmp_path / "old")
    release(tmp_path / "all" / "one")
    words = [
        "observe",
        "add-releases",
        str(tmp_path / "all"),
        "--at",
        str(tmp_path / "old"),
        "--out",
        str(tmp_path / "new"),
    ]
    told = CliRunner().invoke(command, words, catch_exceptions=False)
    assert told.exit_code == 0
    assert read(tmp_path / "old") == BEFORE
    assert f"{LAB}/tiny@3" in read(tmp_path / "new").models
    again = CliRunner().invoke(command, words)
    assert "never written over" in f"{again.output}{again.exception}"
