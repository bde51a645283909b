"""What a node shows: one line that never wraps on a terminal, sparse whole lines elsewhere."""

import fcntl
import io
import os
import pty
import random
import select
import struct
import subprocess
import sys
import termios
import time
import types
from pathlib import Path

import pytest
from rich.cells import cell_len

from archipel.cli.screen import CLEAR, FILE_EVERY_S, Screen, cut, fitted
from archipel.node.standing import Doing, Standing
from archipel.node.totals import Totals
from specimens import SMALL
from terminal import Terminal, environment, program

GRANT = SMALL["lease.granted (rollout)"]
ABSENT = "http://127.0.0.1:9"


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _agent() -> types.SimpleNamespace:
    return types.SimpleNamespace(standing=Standing(), totals=Totals())


def test_parts_are_whole_or_left_out_and_only_the_last_is_cut() -> None:
    parts = ("00:38", "working on run.3: 8 groups, 20 s left", "0.1 credits here", "71 accepted")
    whole = "00:38 working on run.3: 8 groups, 20 s left · 0.1 credits here · 71 accepted"
    assert fitted(parts, len(whole)) == whole
    assert fitted(parts, len(whole) - 1).endswith("credits here")
    assert fitted(parts, 30) == "00:38 working on run.3: 8 gro…"
    assert fitted(("00:38", "waiting", "x" * 50), 40) == f"00:38 waiting · {'x' * 23}…"
    assert fitted(("00:38", "waiting", "x" * 50), 20) == "00:38 waiting"
    assert fitted(parts, 3) == "00…"


def test_no_line_is_wider_than_the_terminal_whatever_stands_in_it() -> None:
    draw = random.Random(3)
    signs = "ab c…界🙂é\u0301\x1b[2J\u202e\t\n\u200b"
    for _ in range(2000):
        parts = tuple(
            "".join(draw.choice(signs) for _ in range(draw.randrange(40)))
            for _ in range(draw.randrange(1, 6))
        )
        cells = draw.randrange(0, 90)
        line = fitted(parts, cells)
        assert cell_len(line) <= cells, (parts, cells)
        assert not {"\x1b", "\n", "\u202e", "\t"} & set(line)
    assert cut("界界界", 4) == "界…"


@pytest.mark.parametrize("columns", [10, 40, 80, 132])
def test_on_a_terminal_each_state_fits_its_width_and_follows_its_resizing(columns: int) -> None:
    master, slave = pty.openpty()
    try:
        agent, clock = _agent(), Clock()
        agent.standing.works_on(GRANT, 388.0)
        agent.totals.count("lost", "run.3", "a very long reason " * 9)
        with os.fdopen(os.dup(slave), "w") as stream:
            screen = Screen(agent, stream, is_terminal=True, clock=clock)
            for width in (columns, 200, columns):
                size = struct.pack("HHHH", 24, width, 0, 0)
                fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
                screen.tick()
                told = _all_from(master)
                assert all(0 < cell_len(line) < max(width, 17) for line in _lines(told))
                assert cell_len(told.rsplit(CLEAR, 1)[1]) < width
    finally:
        os.close(master)
        os.close(slave)


def test_in_a_file_news_come_at_once_and_standings_once_a_minute_if_they_changed() -> None:
    agent, clock, file = _agent(), Clock(), io.StringIO()
    screen = Screen(agent, file, is_terminal=False, clock=clock)
    agent.standing.at(Doing.RESTING, 5000.0)
    agent.standing.joined("did:key:lab", 0)
    for _ in range(200):
        screen.tick()
        clock.now_s += 1.0
    lines = file.getvalue().splitlines()
    assert lines[0] == "00:00 joined lab did:key:lab"
    assert len(lines) == 1 + int(200 // FILE_EVERY_S)
    assert "\r" not in file.getvalue()
    assert "\x1b" not in file.getvalue()
    before = len(lines)
    agent.standing.at(Doing.STARTING)
    for _ in range(200):
        screen.tick()
        clock.now_s += 1.0
    assert len(file.getvalue().splitlines()) == before + 1, "an unchanged line is not repeated"


def test_a_loss_is_said_with_its_reason_and_not_again_at_once() -> None:
    agent, clock, file = _agent(), Clock(), io.StringIO()
    screen = Screen(agent, file, is_terminal=False, clock=clock)
    for number in range(5):
        agent.totals.count("lost", f"run.{number}", "time is up")
        agent.standing.troubled("work failed", "time is up", 1.0)
        screen.tick()
    assert file.getvalue().splitlines() == ["00:00 run.0 lost: time is up"]
    agent.totals.count("returned", "run.9", "the disk is full\x1b[2J")
    screen.tick()
    assert file.getvalue().splitlines()[1:] == ["00:00 run.9 returned: the disk is full?[2J"]


def test_a_stream_that_is_gone_silences_the_screen_and_nothing_else() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    agent = _agent()
    for stream in (Gone(), None):
        screen = Screen(agent, stream, is_terminal=True, clock=Clock())
        screen.tick()
        screen.stopping()
        screen.end()


def _all_from(master: int) -> str:
    data = b""
    while select.select([master], [], [], 0.05)[0]:
        data += os.read(master, 65536)
    return data.decode()


def _lines(told: str) -> list[str]:
    return [line for line in told.replace(CLEAR, "\n").splitlines() if line]


def _join(home: Path, *options: str) -> list[str]:
    words = [*program(), "node", "join", ABSENT, "--home", str(home)]
    return [*words, "--energy-price", "0.2", *options]


@pytest.mark.slow
def test_a_node_without_a_lab_says_so_within_forty_columns_and_leaves_at_ctrl_c(
    tmp_path: Path,
) -> None:
    with Terminal(_join(tmp_path / "node"), columns=40) as terminal:
        terminal.wait_for("connection refused")
        terminal.wait_for("is confined:")
        mark = len(terminal.shown)
        terminal.resize(132)
        terminal.wait_for("connection refused", mark)
        terminal.resize(30)
        mark = len(terminal.shown)
        terminal.wait_for("trying", mark)
        terminal.wait_for("trying", len(terminal.shown))
        assert all(cell_len(frame) < 132 for frame in terminal.redrawn())
        assert all(cell_len(frame) < 30 for frame in terminal.redrawn(mark)[1:])
        terminal.press_ctrl_c()
        terminal.wait_for("leaving; Ctrl-C again")
        assert terminal.ended() == 0
        assert "Traceback" not in terminal.shown
        assert "credits" not in terminal.shown.rsplit(CLEAR, 1)[1], "no last words without a lab"


@pytest.mark.slow
def test_a_window_that_is_closed_ends_the_node_in_order(tmp_path: Path) -> None:
    with Terminal(_join(tmp_path / "node")) as terminal:
        terminal.wait_for("connection refused")
        terminal.cut()  # the kernel hangs up on the leader of the session
        assert terminal.ended() == 0
    log = (tmp_path / "node" / "log.jsonl").read_text()
    assert '"event": "stopping", "hurrying": true' in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_into_a_file_a_node_writes_few_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        node = subprocess.Popen(
            _join(tmp_path / "node", "--give-up", "1.0"), stderr=file, env=environment()
        )
        assert node.wait(60.0) == 1
    lines = log.read_text().splitlines()
    assert "\r" not in log.read_text()
    assert len(lines) <= 5
    assert lines[-1].startswith(f"archipel: no lab at {ABSENT} for")


@pytest.mark.parametrize("moment_s", [0.1, 0.4])
def test_ctrl_c_at_any_moment_leaves_no_traceback(moment_s: float) -> None:
    with Terminal([sys.executable, "-m", "archipel.cli.archipel", "run", "list"]) as terminal:
        time.sleep(moment_s)
        terminal.press_ctrl_c()
        terminal.ended()
        started = terminal.shown
    is_ours = "archipel" in started  # else it was the interpreter that started
    assert not (is_ours and "Traceback" in started), started


@pytest.mark.parametrize(
    ("called", "ends_at_once"), [("-m", True), ("/x/archipel", True), ("x", False)]
)
def test_the_program_alone_lets_ctrl_c_end_its_imports(called: str, ends_at_once: bool) -> None:
    told = (
        "import sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # ignored by
        f"sys.argv[0] = {called!r}; import archipel.cli; "  # what a shell starts in the background
        "print(signal.getsignal(signal.SIGINT) is signal.SIG_DFL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", told], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == str(ends_at_once), done.stderr
