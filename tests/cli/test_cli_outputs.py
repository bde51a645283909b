"""What a command will write at its end is looked at before it begins."""

from pathlib import Path

import pytest

from archipel.cli.archipel import run


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("folder", "expected a name that ends in"),
        ("folder.png", "is a folder"),
        ("nowhere/a.png", "there is no folder"),
        ("a.jpeg", "expected a name that ends in .png"),
    ],
)
@pytest.mark.parametrize("bench", ["parity", "staleness", "peers", "lab"])
def test_a_picture_that_cannot_be_drawn_is_refused_before_hours_of_work(
    tmp_path: Path, bench: str, place: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(SystemExit) as ended:
        run(["bench", bench, "--png", str(tmp_path / place)])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert reason in said
    assert str(tmp_path) in said


def test_an_export_looks_at_its_folder_before_it_asks_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(SystemExit):
        run(["run", "export", "x", "--out", str(tmp_path / "full"), "--lab", "http://127.0.0.1:9"])
    assert "is not empty; name a new directory" in capsys.readouterr().err
