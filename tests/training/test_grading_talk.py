"""What a grading process says: every line, in order, and those that were to be said soon before any other."""

import os
import subprocess
import sys

import pytest

from archipel.work.grading import talk as room

PROGRAM = """
from archipel.work.grading import talk as room
room.TOGETHER_S = float({together_s!r})
talk = room.Talk()
for number in range(3):
    talk.say_soon(number=number)
print(talk.hear())
talk.{last}
talk.hear()
"""


def _said(together_s: float, last: str) -> list[bytes]:
    """What comes at a time, by the reads that it took; the program waits to be told between."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(together_s=together_s, last=last)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(b"1\n")
        process.stdin.flush()
        said = os.read(process.stdout.fileno(), 1000)
        process.stdin.write(b"2\n")
        process.stdin.close()
        rest = process.stdout.read()
    return [said, rest]


LINES = b"".join(b'{"number": %d}\n' % number for number in range(3))


@pytest.mark.parametrize("last", ["say_all()", "say(ready=True)"])
def test_lines_that_were_to_be_said_soon_come_together_and_before_the_next(last: str) -> None:
    ready = b'{"ready": true}\n' if "ready" in last else b""
    assert _said(60.0, last) == [LINES + ready, b""]


def test_nothing_waits_longer_than_the_next_line_after_its_time() -> None:
    said, rest = _said(0.0, "say_all()")
    assert said + rest == LINES
    assert room.TOGETHER_S <= 0.05, "whoever waits is told within a blink"
