"""`archipel lab`: what it leaves in its home for others to read."""

from pathlib import Path

from archipel.cli.lab import publish_url


def test_the_url_is_replaced_whole_and_never_written_under_a_reader(tmp_path: Path) -> None:
    publish_url(tmp_path, "http://127.0.0.1:1")
    held = tmp_path / "held"
    held.hardlink_to(tmp_path / "url")
    publish_url(tmp_path, "http://127.0.0.1:22")
    assert (tmp_path / "url").read_text() == "http://127.0.0.1:22"
    assert held.read_text() == "http://127.0.0.1:1", "the file was written in place"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held", "url"]
