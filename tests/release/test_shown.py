"""Releases as pages show them: what holds is told from the bytes, what does not is named, nothing is looked at twice."""

from pathlib import Path

import pytest

from archipel.records.page_documents import ReleaseView
from archipel.release.shown import MICRO, Shelf, Tell, shown
from tiny import NAME


def test_a_release_that_holds_is_told_from_its_bytes(site: Path) -> None:
    view = shown(site / "bundle")
    assert view.holds, view.problems
    assert (view.run, view.name, view.problems) == (NAME, "bundle", ())
    assert dict(view.openness)["Model Openness Framework 1.0"] in {"I", "II", "III", "none"}
    assert len(view.signed_by) == 64
    assert view.size_bytes == sum(
        each.stat().st_size for each in (site / "bundle").rglob("*") if each.is_file()
    )
    assert 0 < sum(part for _, part in view.shaped_by) <= MICRO
    assert sum(part for _, part in view.shares) <= MICRO


def test_what_does_not_hold_is_named_and_nothing_is_said_of_who_made_it(bundle: Path) -> None:
    path = bundle / "README.md"
    path.write_bytes(path.read_bytes() + b"!")
    view = shown(bundle)
    assert not view.holds
    assert any("README.md" in problem for problem in view.problems)
    assert view.shaped_by == view.shares == ()


def test_an_index_that_is_none_is_a_problem_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "release.json").write_bytes(b"\xff{")
    view = shown(tmp_path / "bad")
    assert (view.holds, view.run, view.signed_by) == (False, None, "")
    assert view.problems


def test_a_shelf_looks_again_only_at_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def noting(folder: Path, tell: Tell) -> ReleaseView:
        seen.append(folder.name)
        return shown(folder)

    monkeypatch.setattr("archipel.release.shown.shown", noting)
    shelf = Shelf(tmp_path)
    assert shelf.releases() == []
    for name in ("one", "two", "no release"):
        (tmp_path / name).mkdir()
    for name in ("one", "two"):
        (tmp_path / name / "release.json").write_text("{}")
    shelf.look()
    shelf.look()
    assert seen == ["one", "two"]
    (tmp_path / "two" / "more").write_text("!")
    shelf.look()
    assert seen == ["one", "two", "two"]
    (tmp_path / "one" / "release.json").unlink()
    shelf.look()
    assert [each.name for each in shelf.releases()] == ["two"]
