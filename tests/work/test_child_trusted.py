"""The trusted role's child reads its data, keeps its memory, starts graders, and can do nothing else."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from archipel import source_environment
from archipel.cli.doors import readable_folders
from archipel.node.ranks import Ranks
from archipel.node.worker import Worker
from archipel.records.recipe import parse_recipe
from archipel.work.messages import Setup, to_line

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="confinement takes Linux"
)

PROGRAM = """
import json, os, socket, sys
from pathlib import Path
from archipel.work.child import confine
from archipel.work.messages import read_setup
def attempt(action):
    try:
        action()
        return "done"
    except BaseException as error:
        return type(error).__name__
home = Path(sys.argv[1])
held = confine(read_setup(sys.stdin.buffer.readline()), meets_others=sys.argv[2] == "site")
facts = {
    "other file": attempt(lambda: (home / "node.key").read_text()),
    "other data": attempt(lambda: (home.parent / "private.jsonl").read_text()),
    "secrets": attempt(lambda: list((home / "secrets").iterdir())),
    "key's time": attempt(lambda: os.utime(home / "node.key", (1, 1))),
    "write beside": attempt(lambda: (home / "new").touch()),
    "write data": attempt(lambda: (home.parent / "questions.jsonl").write_text("x")),
    "network": attempt(socket.socket),
    "parent": attempt(lambda: os.kill(os.getppid(), 0)),
    "data": attempt(lambda: (home.parent / "questions.jsonl").read_text()),
    "memory": attempt(lambda: (home / "memory" / "kept").write_text("x")),
    "scratch": attempt(lambda: (home / "scratch" / "made").write_text("x")),
}
from archipel.records.recipe import EnvironmentSection
from archipel.training.grading import Grader, Submission
for name, parameters in (("secret_order", {}), ("reasoning_gym", {"task": "countdown"})):
    section = EnvironmentSection(name=name, parameters=parameters)
    with Grader(section, 0, b"secret") as grader:
        facts[name] = len(grader.grade([Submission("dev", 0, "1 + 1", True)] * 3))
        facts[f"{name} faults"] = sum(grader.faults.values())
        facts[f"{name} confined"] = {"file_reads", "file_writes", "network", "processes"} <= set(
            grader.protections
        )
print(json.dumps({"held": held, **facts}))
"""


def setup(home: Path, *readable: Path) -> Setup:
    for name in ("scratch", "memory", "secrets", "models"):
        (home / name).mkdir(parents=True, exist_ok=True)
    return Setup(
        kinds=("evaluate", "update"),
        scratch=home / "scratch",
        readable=(*readable_folders(), home / "models", *readable),
        memory=home / "memory",
        threads=1,
        engine="archipel",
        dtype="float32",
        device="cpu",
        max_memory_bytes=8 * 2**30,
        trusted=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("company", ["alone", "site"])
def test_it_reaches_what_its_duty_takes_and_nothing_else(tmp_path: Path, company: str) -> None:
    """A rank of a site is as confined, but for the sockets over which ranks meet."""
    home = tmp_path / "home"
    told = setup(home, tmp_path / "questions.jsonl")
    for path in (home / "node.key", tmp_path / "private.jsonl", tmp_path / "questions.jsonl"):
        path.write_text("x")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, home, company],
        input=to_line(told),
        capture_output=True,
        timeout=120,
        env={**source_environment(), "TMPDIR": str(home / "scratch")},  # as its agent says
    )
    assert done.returncode == 0, done.stderr.decode()
    facts: dict[str, Any] = json.loads(done.stdout)
    held = set(facts.pop("held"))
    assert {"file_reads", "file_writes", "processes", "system_calls", "memory"} <= held
    assert ("network" in held) == (company == "alone")
    if company == "site":
        assert facts.pop("network") == "done"
    assert facts == dict.fromkeys(facts, "PermissionError") | {
        "data": "done",
        "memory": "done",
        "scratch": "done",
        "secret_order": 3,
        "secret_order faults": 0,
        "secret_order confined": True,
        "reasoning_gym": 3,
        "reasoning_gym faults": 0,
        "reasoning_gym confined": True,
    }


@pytest.mark.slow
def test_ranks_of_a_site_meet_although_they_are_confined(tmp_path: Path) -> None:
    told = setup(tmp_path / "home")
    environment = {"PATH": os.defpath, "OMP_NUM_THREADS": "1"}

    async def story() -> tuple[str, ...]:
        worker = await Worker.start(told, environment, tmp_path / "log", ranks=Ranks(2))
        await worker.close()
        return worker.protections

    held = set(asyncio.run(story()))
    assert {"file_reads", "file_writes", "processes", "system_calls", "memory"} <= held
    assert "network" not in held


def test_a_recipe_names_the_files_that_it_reads() -> None:
    text = """
    [run]
    name = "r"
    versions = 1
    [environment]
    name = "jsonl"
    parameters = { path = "train.jsonl", test_path = "/data/test.jsonl", template = "{question}" }
    """
    assert parse_recipe(text).data_paths == ("train.jsonl", "/data/test.jsonl")
