"""A lab's clock runs evenly, whatever is done to the machine's date."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel.cli.archipel import command
from archipel.lab.clock import EvenClock, counted_ns

HOUR_NS = 3_600_000_000_000
BEGAN_NS = 1_800_000_000_000_000_000


class Machine:
    """Its date can be set; what it has counted cannot."""

    def __init__(self) -> None:
        self.date_ns, self.counted_ns = BEGAN_NS, 5_000_000_000

    def passes(self, ns: int) -> None:
        self.date_ns += ns
        self.counted_ns += ns


def test_setting_the_date_moves_no_deadline_and_the_next_start_goes_by_it() -> None:
    machine = Machine()
    clock = EvenClock(lambda: machine.date_ns, lambda: machine.counted_ns)
    assert clock() == BEGAN_NS // 1_000_000
    for step in (HOUR_NS, -2 * HOUR_NS):
        machine.date_ns += step
        before = clock()
        machine.passes(1_500_000)
        assert clock() - before in (1, 2)
    machine.passes(HOUR_NS)
    assert clock() == (BEGAN_NS + HOUR_NS + 3_000_000) // 1_000_000
    again = EvenClock(lambda: machine.date_ns, lambda: machine.counted_ns)
    assert again() == machine.date_ns // 1_000_000


def test_what_is_counted_does_not_go_back() -> None:
    read = [counted_ns() for _ in range(100)]
    assert read == sorted(read)


def test_a_lab_that_is_started_goes_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def lab(*_: object, clock_ms: object, **more: object) -> None:
        seen.append(clock_ms)
        raise OSError("far enough")

    monkeypatch.setattr("archipel.lab.lab.Lab", lab)
    CliRunner().invoke(command, ["lab", "start", "--home", str(tmp_path), "--port", "0"])
    assert [type(each) for each in seen] == [EvenClock]
