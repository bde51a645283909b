"""The tutorial is true: every command in it exists, and typed one after another they give what the page promises."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel import source_environment
from archipel.cli.archipel import command
from archipel.cli.model_fetch import CACHE
from archipel.door.client.examples import read_line
from archipel.model.shelf import SHELF, brought

PAGES = Path(__file__).parents[2] / "docs" / "tutorials"
PAGE, DATA = PAGES / "first-hour.md", PAGES / "first-hour.jsonl"
LIMIT_S = 1800
MOVED = {":8460": ":18460", ":8450": ":18450", "--detach": "--detach --port 18450"} | {
    "stop 8450": "stop 18450"
}
"""Ports that the test takes in place of the page's, where somebody else may listen."""
AT_THE_END = (
    "trap 'kill $(jobs -p) 2> /dev/null; archipel serve stop --all > /dev/null 2>&1 || true' EXIT\n"
)
STYLE = re.compile(r"^Ahoy! .+ Fair winds\.$")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)


def lines() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines()]


def test_every_command_of_the_first_hour_exists() -> None:
    asked = [found for line in lines() if (found := re.search(r"archipel [^>&)]*", line))]
    assert len(asked) >= 10
    for words in (shlex.split(each[0], comments=True) for each in asked):
        names = [word for word in words[1:4] if re.fullmatch("[a-z]+", word)]
        while CliRunner().invoke(command, [*names, "--help"]).exit_code:
            names.pop()
        assert names, words
        shown = CliRunner().invoke(command, [*names, "--help"])
        missing = [word for word in words if word.startswith("--") and word not in shown.output]
        assert not missing, f"{words} has no {missing}"


def test_the_examples_of_the_first_hour_are_in_its_style() -> None:
    rows = [read_line(line) for line in DATA.read_bytes().splitlines()]
    assert 20 <= len(rows) <= 60
    asked = [row["messages"][0]["content"] for row in rows]
    assert len(set(asked)) == len(rows)
    assert all(STYLE.match(row["messages"][1]["content"]) for row in rows)
    (shown,) = (json.loads(each) for each in blocks("json"))
    assert shown in rows
    told = PAGE.read_text("utf-8")
    for question in re.findall(r'--prompt "(.*?)"', told):
        assert question not in asked, "the page says that it was in no example"


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S)
def test_the_first_hour_ends_with_a_model_that_answers_in_the_style_it_was_taught(
    tmp_path: Path,
) -> None:
    model = SHELF["smollm2-135m-instruct"]
    try:
        brought(model, Path(CACHE).expanduser(), print)
    except (OSError, RuntimeError, ValueError) as error:
        pytest.skip(f"the real model cannot be had here: {error}")
    shutil.copy(DATA, tmp_path)
    own = tmp_path / "bin" / "archipel"
    own.parent.mkdir()
    own.write_text(f'#!/bin/sh\nexec {sys.executable} -m archipel.cli.archipel "$@"\n')
    own.chmod(0o755)
    script = f"set -e\n{AT_THE_END}" + "".join(
        f"echo '@ {number}'\n{line}\n" for number, line in enumerate(lines())
    )
    for page, other in MOVED.items():
        script = script.replace(page, other)
    environment = source_environment() | {
        "PATH": f"{own.parent}:{os.defpath}",
        "OMP_NUM_THREADS": "1",
    }
    environment |= {"HOME": str(Path.home()), "ARCHIPEL_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    print(done.stdout, done.stderr[-2000:])
    assert done.returncode == 0, (tmp_path / "door.log").read_text()
    told = dict(enumerate(re.split(r"^@ \d+\n", done.stdout, flags=re.MULTILINE)[1:]))
    before, *after = (
        told[number].strip() for number, line in enumerate(lines()) if "archipel chat" in line
    )
    assert not STYLE.match(before)
    assert STYLE.match(after[0]), after
    assert STYLE.match(after[1]), after
    assert not STYLE.match(after[2]), "the model beside it is as it was"
    held = re.search(r"held out: ([\d.]+) nats a token before, ([\d.]+) after", done.stdout)
    assert held is not None
    assert float(held[2]) < 0.5 * float(held[1])
    (usage,) = (number for number, line in enumerate(lines()) if "key usage" in line)
    assert "train" in told[usage]
