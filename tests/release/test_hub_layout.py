"""A release is a plain folder that a model hub takes: shown by the hub's own library, against a hub on 127.0.0.1."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest

from archipel.release.hub_layout import check_hub
from releases import said

PICKLED = b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94]\x94K\x01as."
"""{"a": [1]}, as Python's pickle writes it by protocol 4."""


@pytest.fixture
def bundle(site: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(site / "bundle", tmp_path / "bundle"))


def faults(folder: Path) -> str:
    return "\n".join(check_hub(folder, lambda where: None).faults)


def test_a_release_is_taken_as_it_is_and_its_card_is_one_to_the_hub_s_library(site: Path) -> None:
    from huggingface_hub import ModelCard

    assert faults(site / "bundle") == ""
    told = said("check-hub", str(site / "bundle"), "--json")
    assert json.loads(told)["holds"] is True
    card = ModelCard.load(site / "bundle" / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "transformers"


def test_a_card_that_the_hub_s_library_writes_is_taken(bundle: Path) -> None:
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        license="other", license_name="own", license_link="LICENSE", language=["en"],
        base_model=["org/model"], tags=["a"], library_name="transformers",
    )  # fmt: skip
    (bundle / "README.md").write_text(f"---\n{data.to_yaml()}\n---\n# Card\n")
    ModelCard.load(bundle / "README.md")
    assert faults(bundle) == ""


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("license: Apache 2.0", "expected an id in small letters"),
        ("tags:\n- a", "license is None"),
        ("license: other", "there is no license_name"),
        ("license: mit\ntags:\n- a: b", "tags is neither"),
        ("license: mit\nbase_model: a b", "is no name on the hub"),
        ("license: mit\nbase_model_relation: child", "base_model_relation is one of"),
        ("license: mit\nmodel-index: none", "model-index is no list"),
        ("license: &a mit", "README.md: "),
    ],
)
def test_settings_that_the_hub_does_not_read_are_named(
    bundle: Path, settings: str, fault: str
) -> None:
    (bundle / "README.md").write_text(f"---\n{settings}\n---\n# Card\n")
    assert fault in faults(bundle)


def test_pickle_is_found_by_its_bytes_under_any_name(bundle: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as inside:
        inside.writestr("archive/data.pkl", b"x")
    for name, data in {
        "notes.txt": PICKLED,
        "weights.dat": archive.getvalue(),
        "pytorch_model.bin": b"anything",
        "data/broken.zip": b"PK\x03\x04broken",
    }.items():
        (bundle / name).write_bytes(data)
        assert f"{name}: " in faults(bundle), name
        (bundle / name).unlink()
    (bundle / "plain.zip").write_bytes(b"\x80\x05 not so")
    assert faults(bundle) == ""


def test_what_is_missing_or_linked_is_named(bundle: Path, tmp_path: Path) -> None:
    for name in ("README.md", "config.json", "model.safetensors"):
        (bundle / name).rename(tmp_path / name)
    found = faults(bundle)
    assert all(each in found for each in ("no README.md", "no config.json", "no *.safetensors"))
    assert "3 faults" in said("check-hub", str(bundle), code=1)
    (bundle / "config.json").symlink_to(tmp_path / "config.json")
    assert "is no regular file" in said("check-hub", str(bundle), code=1)


def test_a_folder_with_more_entries_or_a_file_with_more_bytes_than_the_hub_takes_is_named(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archipel.release import hub_layout

    with (bundle / "huge").open("wb") as file:
        file.truncate(50 * 10**9 + 1)
    monkeypatch.setattr(hub_layout, "MAX_ENTRIES", 3)
    monkeypatch.setattr(hub_layout, "MAX_FILES", 5)
    found = faults(bundle)
    (bundle / "huge").unlink()
    assert "huge has 50000000001 bytes" in found
    assert "the root has" in found
    assert "the hub takes 5 in a repository" in found
