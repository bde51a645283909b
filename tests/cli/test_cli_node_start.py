"""`archipel node start`: several labs from one command, whose file may change, whose figures are read, and which ends."""

import asyncio
import os
import signal
import socket
import urllib.request
from collections import deque
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from agents import until
from archipel.cli import node_start
from archipel.cli.archipel import command
from archipel.node.labs_file import MAX_LABS
from ports import free_port
from terminal import Terminal, program

NOBODY, OTHER = "http://127.0.0.1:7", "http://127.0.0.1:9"


def test_what_cannot_be_served_is_said_before_anything_starts(tmp_path: Path) -> None:
    home = ["--home", str(tmp_path)]
    for words, said in (
        ([], "name one with --lab URL"),
        (["--lab", NOBODY, "--serve-blobs", "127.0.0.1:65530"], f"doors of {MAX_LABS} labs"),
    ):
        assert said in _refused([*home, *words])


def _refused(words: list[str]) -> str:
    shown = CliRunner().invoke(command, ["node", "start", *words])
    assert shown.exit_code != 0
    return f"{shown.output}{shown.exception}"


def test_a_port_that_is_taken_is_named_with_the_option_that_gives_another(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option, place in (
            ("--metrics-port", str(port)),
            ("--serve-blobs", f"127.0.0.1:{port}"),
        ):
            said = _refused(["--home", str(tmp_path), "--lab", NOBODY, option, place])
            assert f"127.0.0.1 port {port}: Address already in use; choose another {option}" in said
            assert "Errno" not in said


def test_the_last_deadline_begins_at_the_second_ctrl_c_whatever_hurry_one_agent_is_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An agent whose lab was taken out of the file may be told twice, while the others finish what they have leased."""
    begun: list[int] = []
    hurried = SimpleNamespace(standing=SimpleNamespace(hurrying=True))
    node = SimpleNamespace(presses=0, agents={NOBODY: hurried}, news=deque())
    screen = SimpleNamespace(**dict.fromkeys(("stopping", "tick", "end"), lambda: None))

    def stop() -> None:
        node.presses += 1

    async def run() -> None:
        for presses in (1, 2):
            os.kill(os.getpid(), signal.SIGINT)
            await until(partial(lambda wanted: node.presses == wanted, presses))
            assert begun == [2] * (presses - 1)

    node.stop, node.run = stop, run
    monkeypatch.setattr(
        node_start, "last_deadline", lambda limit_s: lambda: begun.append(node.presses)
    )
    asyncio.run(node_start._until_stopped(node, screen))  # type: ignore[arg-type]  # by their shapes
    assert begun == [2]


@pytest.mark.slow
def test_a_session_in_which_the_file_changes_and_the_figures_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("terminal.LIMIT_S", 180.0)  # a busy machine starts processes slowly
    port = free_port()
    file = tmp_path / "labs.toml"
    file.write_text(f'[[labs]]\nat = "{NOBODY}"\nweight = 3')
    words = ["node", "start", "--home", str(tmp_path), "--metrics-port", str(port), "--no-bid"]
    with Terminal([*program(), *words, "--serve-blobs"], columns=120) as terminal:
        terminal.wait_for(f"for {NOBODY}, home")
        terminal.wait_for("no answer")
        figures = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert f'archipel_node_weight{{lab="{NOBODY}"}} 3.0' in figures
        assert f'archipel_node_tokens_total{{lab="{NOBODY}"}} 0.0' in figures
        file.write_text("[[labs]]\nat = 5")
        terminal.wait_for("labs.toml is not taken, the labs before it are served on:")
        file.write_text(f'[[labs]]\nat = "{OTHER}"')
        terminal.wait_for("is served, too")
        terminal.wait_for(f"{NOBODY} is left")
        terminal.press_ctrl_c()
        assert terminal.ended() == 0
        assert "Traceback" not in terminal.shown
    assert len([*(tmp_path / "serving").iterdir()]) == 2
