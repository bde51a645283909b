"""Every process that may make tasks gives text the same hashes, however it was started."""

import subprocess
import sys

import pytest

from archipel import source_environment
from archipel.cli.doors import child_environment, readable_folders

PATHS = {"PYTHONPATH": str(readable_folders()[0])}
ASK = (
    "import sys\n"
    "from archipel.cli import archipel as door\n"
    "door.command.main = lambda **_: print(sys.flags.hash_randomization, hash('task'), sys.argv[1:])\n"
    "door.run()"
)


@pytest.mark.parametrize("seed", [None, "5", "random", "0"])
def test_a_command_starts_over_with_the_same_hashes_as_every_other(seed: str | None) -> None:
    chosen = {} if seed is None else {"PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", ASK, "eval", "--help"]
    said = subprocess.check_output(command, env={**PATHS, **chosen}, text=True, timeout=60)
    alike = [sys.executable, "-c", "print(hash('task'))"]
    same = subprocess.check_output(alike, env={"PYTHONHASHSEED": "0"}, text=True, timeout=60)
    assert said.split(maxsplit=2) == ["0", same.strip(), "['eval', '--help']\n"]


def test_started_processes_are_told() -> None:
    assert child_environment()["PYTHONHASHSEED"] == "0"
    assert source_environment()["PYTHONHASHSEED"] == "0"
