"""The demo's ending for real: processes that release a run's model, and look at it without network and tensor library."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from archipel import source_environment
from archipel.bench.site import SiteFailed
from archipel.cli.doors import child_environment
from archipel.cli.recipes import find_recipe
from archipel.demo.answering import Answered, Answering
from archipel.demo.releasing import Releasing, Source
from archipel.demo.releasing_words import tell_answer, tell_release
from archipel.demo.trade import traded
from archipel.release.stated import read_stated
from people import identity
from releasing import lab_home
from tiny import NAME, SECRET

GIVEN = Path(__file__).parents[2] / "src" / "archipel" / "demo" / "given"
SHUT = """
import sys
from archipel.demo.offline import close
sys.stderr.write(close())
for way in {ways!r}:
    try:
        exec(way)
    except (RuntimeError, ImportError) as error:
        print(type(error).__name__, error)
    else:
        print("done", way)
"""
WAYS = (
    "import socket; socket.socket()",
    "import socket; socket.getaddrinfo('localhost', 80)",
    "import torch",
    "import safetensors.torch",
    "import subprocess; subprocess.run(['true'])",
    "import os; os.system('true')",
    "import os; os.fork()",
    "import os; os.execv('/bin/true', ['true'])",
    "import math",
)


def test_a_closed_process_has_no_way_out_and_no_tensor_library() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SHUT.format(ways=WAYS)],
        env={"PATH": os.defpath, **source_environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = ended.stdout.splitlines()
    assert [line.split()[0] for line in said] == ["Refused"] * 2 + ["ImportError"] * 2 + [
        "Refused"
    ] * 4 + ["done"]
    assert "sockets and tensor libraries are refused" in ended.stderr


def test_what_its_owner_says_of_it_is_read_and_names_a_licence_for_all_of_its_data() -> None:
    stated = read_stated((GIVEN / "release.toml").read_bytes())
    recipe = traded(find_recipe("secret-order"))
    name = recipe.environment.name
    assert {each.name for each in stated.data} == {f"{name} tasks", f"{name} examples", "rollouts"}
    assert all(each.licence for each in stated.data)
    for licence in {*stated.licences.values()} - {"Apache-2.0"}:
        assert (GIVEN / f"{licence}.txt").is_file()
    assert recipe.charter is not None


def site(folder: Path) -> Source:
    home = lab_home(folder / "lab")
    identity("operator").save(home / "operator.key")
    (folder / "secret").write_bytes(b"\xff" + SECRET)  # no text: any bytes may be a secret
    return Source(NAME, home, folder / "secret")


@pytest.mark.slow
def test_it_ends_with_a_release_of_the_highest_class_that_a_closed_process_found_to_hold(
    tmp_path: Path,
) -> None:
    source, lines = site(tmp_path), list[str]()
    with (
        Answering(tmp_path, child_environment(), "w12a13", 200.0) as answering,
        Releasing(tmp_path, child_environment(), 200.0) as releasing,
    ):
        releasing.begin(source, answering.begin)
        done = releasing.finished()
        answered = answering.ask("ab")
    tell_release(done, {}, lines.append)
    tell_answer(answered, lines.append)
    assert done.verified["holds"]
    assert [step["outcome"] for step in done.verified["steps"][:-1]] == ["holds"] * 8
    assert done.grade.classes.present == 1, [each.why for each in done.grade.parts]
    assert not done.made["missing"]
    log = (tmp_path / "release.out").read_text()
    assert log.count("sockets and tensor libraries are refused") == len(done.seconds) - 1
    assert [line.split()[0] for line in lines] == [
        "release",
        "verified",
        "class",
        "shares",
        "trace",
        "private",
    ]
    assert "8 of 8 steps hold" in lines[1]
    assert re.search(r"class I of the Model Openness Framework", lines[2])
    assert all(re.search(r"\d+\.\d%", line) for line in lines[3:5])
    assert answered.model == done.bundle
    assert answered.tokens > 0
    assert answered.differences == 0
    assert answered.is_offline
    assert "every bit the same" in lines[5]


@pytest.mark.slow
def test_a_release_that_fails_is_told_with_its_reason(tmp_path: Path) -> None:
    source = site(tmp_path)
    (tmp_path / "secret").unlink()
    with Releasing(tmp_path, child_environment(), 200.0) as releasing:
        releasing.begin(source)
        with pytest.raises(SiteFailed, match=r"(?s)make ended with \d: .*secret"):
            releasing.finished()


def test_leaving_the_block_ends_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    source = Source(NAME, tmp_path, tmp_path / "secret")
    with Releasing(tmp_path, {"PATH": "/usr/bin:/bin"}, 1.0) as releasing:
        releasing.begin(source)
        with pytest.raises(SiteFailed, match="has no end after 1 s"):
            releasing.finished()
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_a_model_that_is_not_served_is_told_with_its_reason(tmp_path: Path) -> None:
    with Answering(tmp_path, child_environment(), None, 30.0) as answering:
        with pytest.raises(SiteFailed, match="no model is served"):
            answering.ask("a")
        (tmp_path / "empty").mkdir()
        answering.begin(tmp_path / "empty")
        with pytest.raises(SiteFailed, match=r"(?s)the model is not served: .*config.json"):
            answering.ask("a")


def test_an_answer_that_comes_out_otherwise_is_told(tmp_path: Path) -> None:
    said = list[str]()
    answered = Answered(tmp_path, "ab=", "ba", False, "did:key:z6Mk", 3, 2, 1.0)
    tell_answer(answered, said.append)
    assert "2 of them differ" in said[0]
    assert "every bit" not in said[0]
    assert "no network" not in said[0]
