"""`archipel release rebuild`: a release whose versions nobody learned is found out, and nothing lands in the release."""

import json
import shutil
from pathlib import Path

import pytest

from archipel.records.canonical import sha256_digest
from archipel.release.openness.rebuilt import read_rebuilt
from archipel.release.stages import NoSuchStage, Stage, chosen
from releases import files, said, spoilt


@pytest.mark.slow
def test_versions_that_nobody_learned_are_named_and_the_release_stays_as_it_is(site: Path) -> None:
    bundle, scratch = site / "bundle", site / "scratch"
    before = files(bundle)
    told = said(
        "rebuild", str(bundle), "--stage", "updates", "--scratch", str(scratch), "--json", code=1
    )
    found = json.loads(told[: told.rindex("}") + 1][told.index("{") :])
    assert [each["came"] for each in found["came"]] == ["differs", *["not shown"] * 3]
    assert files(bundle) == before
    report = read_rebuilt((site / "bundle.rebuilt.json").read_bytes())
    assert report.release == sha256_digest((bundle / "release.json").read_bytes())
    assert not any(report.kinds.values())
    words = said("openness", str(bundle), "--rebuilt", str(site / "bundle.rebuilt.json"))
    assert "reproduced" in words


def test_what_cannot_be_rebuilt_is_refused_in_a_sentence(site: Path) -> None:
    bundle, scratch = site / "bundle", ["--scratch", str(site / "scratch")]
    assert "does not hold" not in said("rebuild", str(bundle), *scratch, "--stage", "update-9", code=1)  # fmt: skip
    assert "no stage is called 'update-9'" in said("rebuild", str(bundle), *scratch, "--stage", "update-9", code=1)  # fmt: skip
    assert "lies in the release" in said("rebuild", str(bundle), "--out", str(bundle / "x"), code=2)
    assert "is no folder" in said("rebuild", str(site / "nothing"), code=1)
    name = next(each for each in files(bundle) if each.startswith("blobs/"))
    with spoilt(bundle / name):
        (bundle / name).write_bytes(b"other")
        words = said("rebuild", str(bundle), *scratch, code=1)
    assert "nothing to make again" in words
    assert name in words
    linked = site / "linked"
    linked.symlink_to(bundle)
    assert "is no folder" in said("rebuild", str(linked), code=1)
    shutil.rmtree(site / "scratch", ignore_errors=True)


def test_stages_are_named_by_number_name_and_kind() -> None:
    stages = (
        Stage(0, "supervised", 0),
        Stage(1, "update", 1),
        Stage(2, "update", 2),
        Stage(3, "rollouts", 0),
        Stage(4, "evaluation", 2),
    )

    def names(asked: str) -> list[str]:
        return [each.name for each in chosen(stages, asked)]

    assert len(names("all")) == 5
    assert names("0") == names("supervised") == ["supervised"]
    assert names("2") == names("update-2") == names("update-02") == ["update-2"]
    assert names("updates") == ["update-1", "update-2"]
    assert names("3") == names("rollouts") == ["rollouts-0"]
    assert names("evaluations") == ["evaluation-2"]
    for wrong in ("5", "-1", "update-3", "update-", "evaluation", "٢", ""):
        with pytest.raises(NoSuchStage, match="no stage is called"):
            chosen(stages, wrong)
