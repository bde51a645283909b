"""What a release was made from: by digest and terms, and refused where the terms forbid it."""

import json
import shutil
from pathlib import Path

import pytest

from archipel.release.index import Parent, read_index
from archipel.release.licence_terms import asks, judged, not_known, why_not
from archipel.release.openness.licences import OPEN
from archipel.release.parents import NoParent, parent_at
from mirrors import small_release
from releases import looked_at, said
from tiny import NAME


@pytest.mark.parametrize(
    ("parent", "release", "fault"),
    [
        ("MIT", "Apache-2.0", ""),
        ("MIT", None, ""),
        ("Apache-2.0 AND CC-BY-4.0", "GPL-3.0-only", ""),
        ("GPL-3.0-only", "GPL-3.0-only", ""),
        ("GPL-3.0-only", "MIT", "asks for one of"),
        ("GPL-3.0-only", None, "no licence at all"),
        ("GPL-2.0-only", "GPL-3.0-only", "asks for one of"),
        ("GPL-2.0-or-later", "GPL-3.0-only", ""),
        ("AGPL-3.0-only", "GPL-3.0-only", "asks for one of"),
        ("CC-BY-SA-4.0", "GPL-3.0-only", ""),
        ("GPL-3.0-only", "CC-BY-SA-4.0", "asks for one of"),
        ("CC-BY-SA-4.0", "CC-BY-SA-4.0 AND MIT", ""),
        ("CC-BY-SA-4.0", "CC-BY-SA-4.0 AND CC-BY-NC-4.0", "allows no further terms"),
        ("CC-BY-NC-4.0", "MIT", "forbids commercial use"),
        ("CC-BY-NC-4.0", "CC-BY-NC-4.0", ""),
        ("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", "asks for the same licence"),
        ("CC-BY-ND-4.0", "CC-BY-ND-4.0", "lets nobody give away"),
        ("MIT AND CC-BY-NC-ND-4.0", "MIT", "lets nobody give away"),
    ],
)
def test_a_parents_terms_bind_what_is_made_from_it(
    parent: str, release: str | None, fault: str
) -> None:
    said_of = judged(parent, release)
    assert bool(said_of.faults) == bool(fault)
    assert fault in "".join(said_of.faults)
    assert not said_of.unknown


def test_what_is_in_no_table_is_unknown_and_never_allowed_in_silence() -> None:
    assert judged(None, "MIT").unknown
    assert "is not known here" in judged("llama3.3", "MIT").unknown[0]
    for each in OPEN:
        found = judged(each, "CC-BY-NC-4.0")
        assert asks(each) == "nothing" or found.faults or found.unknown, each


def test_a_reason_of_the_owner_stands_beside_the_fault() -> None:
    one = Parent(
        relation="merged from", name="p", weights="sha256:" + "1" * 64, licence="GPL-3.0-only"
    )
    assert why_not([one], "MIT")
    reasoned = one.model_copy(update={"despite": "its author agreed in writing"})
    assert why_not([reasoned], "MIT") == []
    assert "its author agreed in writing" in not_known([reasoned], "MIT")[0]


@pytest.mark.slow
def test_a_derivative_records_digests_and_terms_and_an_incompatible_licence_writes_nothing(
    site: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "their model"
    foreign.mkdir()
    shutil.copy(site / "bundle" / "model.safetensors", foreign)
    (foreign / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# theirs\n")
    given = ["--parent", f"{site / 'bundle'}:fine-tuned", "--parent", f"{foreign}:distilled"]
    words = [NAME, "--home", str(site / "lab"), "--out", str(tmp_path / "out")]
    refused = said("make", *words, "--stated", str(site / "release.toml"), *given, code=1)
    assert "distilled from 'their model': CC-BY-NC-4.0 forbids commercial use" in refused
    assert not (tmp_path / "out").exists()
    (tmp_path / "stated.toml").write_text(
        '[licences]\ndefault = "CC-BY-4.0"\n[despite]\n"their model" = "its authors allowed it"\n'
    )
    text = said("make", *words, "--stated", str(tmp_path / "stated.toml"), "--json", *given)
    told, _ = json.JSONDecoder().raw_decode(text[text.index("{") :])
    assert "its authors allowed it" in "".join(told["terms"])
    index = read_index((tmp_path / "out" / "release.json").read_bytes())
    first, second = index.parents
    before = read_index((site / "bundle" / "release.json").read_bytes())
    assert (first.relation, first.weights, first.licence) == (
        *("fine-tuned from", before.weights, "CC-BY-4.0"),
    )
    assert first.release is not None
    assert (second.weights, second.licence, second.release) == (
        *(before.weights, "CC-BY-NC-4.0", None),
    )
    report = looked_at(tmp_path / "out")
    assert report.holds, list(report.faults)
    assert any("its authors allowed it" in line for line in report.steps[-1].unshown)
    assert "CC-BY-NC-4.0" in (tmp_path / "out" / "README.md").read_text()


def test_a_parent_that_does_not_hold_is_none(tmp_path: Path) -> None:
    release = small_release(tmp_path / "release")
    assert parent_at(release, "adapter of").name == "small"
    (release / "release.json").write_bytes(
        (release / "release.json").read_bytes().replace(b'"small"', b'"smell"')
    )
    with pytest.raises(NoParent, match="is not as it was signed"):
        parent_at(release, "adapter of")
    (release / "release.sig").unlink()
    with pytest.raises(NoParent, match="does not hold"):
        parent_at(release, "adapter of")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoParent, match="neither"):
        parent_at(tmp_path / "empty", "merged from")
    (tmp_path / "empty" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(NoParent, match=r"model\.safetensors"):
        parent_at(tmp_path / "empty", "merged from")
