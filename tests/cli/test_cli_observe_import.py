"""`archipel observe import` and `fetch`: a new folder each time, and what was refused with its line."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from archipel.cli.archipel import run
from archipel.observatory.folder import read
from recorded_hub import Hub, answering, model, serving

TABLE = (
    "Model,Publication date,Organization,Country (of organization),Model accessibility\n"
    "Wren,2025-01-02,Aviary,France,Open weights (unrestricted)\n"
    "Wren,2025-01-02,Aviary,France,Unreleased\n"
    "\x1b[2JOwl,2025-01-02,Aviary,France,Unreleased\n"
)


@dataclass(frozen=True)
class Ended:
    """A command, when it is over."""

    exit_code: int
    output: str


def _run(*arguments: object) -> Ended:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as ended:
        run(["observe", *(str(each) for each in arguments)])
    return Ended(int(ended.value.code or 0), out.getvalue())


def test_an_import_writes_a_new_folder_and_lists_what_it_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE)
    asked = (
        "import",
        "epoch",
        tmp_path / "a.csv",
        "--read-on",
        "2026-04-01",
        "--out",
        tmp_path / "s",
    )
    told = _run(*asked)
    assert told.exit_code == 0, told.output
    assert "3 read, 2 refused" in told.output
    assert "line 3: a second line of 'Wren'" in told.output
    assert "line 4: no row of models" in told.output
    assert "\x1b" not in told.output
    before = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    again = _run(*asked)
    assert again.exit_code != 0
    assert "never written over" in again.output
    assert {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()} == before
    strict = _run(*asked[:-1], tmp_path / "t", "--strict")
    assert strict.exit_code != 0
    assert "line 3" in strict.output
    assert not (tmp_path / "t").exists()
    wrong = _run(
        "import", "epoch", tmp_path / "a.csv", "--read-on", "soon", "--out", tmp_path / "u"
    )
    assert wrong.exit_code != 0
    assert read(tmp_path / "s").sources["epoch-2026-04-01"].licence == "CC-BY-4.0"


def test_a_fetch_is_a_snapshot_and_its_pages_and_goes_on(tmp_path: Path) -> None:
    with serving(Hub([model(number) for number in range(6)])) as hub:
        hub.faults = [None, answering(404)]
        asked = (
            "fetch",
            "--from",
            "huggingface",
            "--base",
            hub.url,
            "--pace",
            "0.1",
            "--limit",
            "5",
        )
        stopped = _run(*asked, "--out", tmp_path / "s")
        assert stopped.exit_code != 0
        assert "404" in stopped.output
        assert not (tmp_path / "s").exists()
        hub.asked.clear()
        told = _run(*asked, "--out", tmp_path / "s", "--json")
        assert told.exit_code == 0, told.output
        assert len(hub.asked) == 1
    values = json.loads(told.output[told.output.index("{") :])
    assert values["rows"]["models"] == 5
    whole = read(tmp_path / "s")
    assert whole.digest == values["digest"]
    assert "digest of the list of their digests sha256:" in whole.manifest.sources[0].note
    assert (tmp_path / "s.pages" / "0002.page").is_file()


@pytest.mark.slow
def test_killed_at_any_moment_a_fetch_goes_on_to_the_same_snapshot(tmp_path: Path) -> None:
    with serving(Hub([model(number) for number in range(40)])) as hub:
        asked = ("fetch", "--from", "huggingface", "--base", hub.url, "--pace", "0.1", "--json")
        line = [sys.executable, "-m", "archipel.cli.archipel", "observe", *asked]
        sound = subprocess.run(
            [*line, "--out", tmp_path / "sound"], capture_output=True, check=True
        )
        for number in range(4):
            out = tmp_path / f"killed-{number}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process = subprocess.Popen(
                    [*line, "--out", out], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
                )
                until = time.monotonic() + 60
                pages = out.with_name(f"{out.name}.pages")
                while time.monotonic() < until and len(list(pages.glob("*.page"))) < 2 + 2 * number:
                    time.sleep(0.003)
                os.kill(process.pid, signal.SIGKILL)
                process.wait(60)
            assert not out.exists()
            hub.asked.clear()
            ended = subprocess.run([*line, "--out", out], capture_output=True, check=True)
            assert 0 < len(hub.asked) < 10
            assert json.loads(ended.stdout)["rows"] == json.loads(sound.stdout)["rows"]
            tables = {path.name for path in out.iterdir()} - {"snapshot.json"}
            assert all(
                (out / each).read_bytes() == (tmp_path / "sound" / each).read_bytes()
                for each in tables
            )
