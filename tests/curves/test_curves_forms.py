"""A history in the forms that people and other tools read: the same numbers in each."""

import csv
import io
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.curves.event_file import crc32c, event_file, framed
from archipel.curves.history import exams_of, plain, plain_exam
from archipel.curves.picture import draw
from archipel.curves.plot import LABEL_WIDTH, Canvas, Line, plot
from archipel.curves.tables import rows, to_csv, to_json_lines
from histories import START_S, exam, history

HISTORY = history(6, exams=(exam(0, 0.25), exam(6, 0.5)))


def test_recorded_integers_become_plain_units_under_names_that_say_them() -> None:
    recorded = {"reward_micro": 250_000, "grade_ms": 1500, "delta_bytes": 7, "groups": 32}
    assert plain(recorded) == {"reward": 0.25, "grade_s": 1.5, "delta_bytes": 7.0, "groups": 32.0}
    scored = {"num_tasks": 256, "greedy": 421_875, "pass_at_8_low": 500_000, "score_micro": 1}
    expected = {"num_tasks": 256.0, "greedy": 0.421875, "pass_at_8_low": 0.5, "score": 1e-6}
    assert plain_exam(scored) == expected
    (first, second) = exams_of(({"version": 4, "greedy": 1}, {"version": 0, "greedy": 2}))
    assert (first.version, second.version) == (0, 4)


def test_a_row_a_version_holds_every_series_and_evaluations_beside_them() -> None:
    table = rows([HISTORY])
    assert [row["version"] for row in table] == list(range(7))
    for name in HISTORY.names():
        assert [(row["version"], row[name]) for row in table if name in row] == HISTORY.series(name)
    assert table[6]["eval_greedy"] == 0.5
    read = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert float(read[6]["reward"]) == table[6]["reward"]
    assert read[0]["reward"] == ""
    assert [json.loads(line) for line in to_json_lines(table).splitlines()] == table
    assert set(rows([HISTORY], ["reward"])[6]) == {"run", "version", "reward"}


def _records(data: bytes) -> list[bytes]:
    """Records of an event file, each checksum recomputed by the bit, without our table."""
    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        body = data[at + 12 : at + 12 + length]
        sums = struct.unpack_from("<I", data, at + 8) + struct.unpack_from(
            "<I", data, at + 12 + length
        )
        assert sums == (_slow_mask(data[at : at + 8]), _slow_mask(body))
        found.append(body)
        at += 16 + length
    return found


def _slow_mask(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _fields(data: bytes) -> list[tuple[int, object]]:
    """(number, value) of a message's fields."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        number, form = divmod(varint(), 8)
        value: object
        if form == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(form) or varint()
            value = data[at : at + size]
            at += size
        found.append((number, value))
    return found


def test_an_event_file_holds_every_scalar_under_checksums_that_hold() -> None:
    first, *events = _records(event_file(HISTORY))
    assert (3, b"brain.Event:2") in _fields(first)
    seen: dict[str, list[tuple[int, float]]] = {}
    for event in events:
        fields = dict(_fields(event))
        step = fields[2]
        (wall,) = struct.unpack("<d", fields[1])
        assert wall == START_S + 10.0 * step
        for _, scalar in _fields(fields[5]):
            named = dict(_fields(scalar))
            (value,) = struct.unpack("<f", named[2])
            seen.setdefault(named[1].decode(), []).append((step, value))
    for name in HISTORY.names():
        tag = f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"
        assert seen[tag] == [(step, pytest.approx(value)) for step, value in HISTORY.series(name)]


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert framed(b"x")[:8] == struct.pack("<Q", 1)


def _text(lines: list[Line], canvas: Canvas) -> list[str]:
    return ["".join(sign for sign, _ in row) for row in plot(lines, canvas)]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    shown = _text([Line("a", [(1, 0.0), (80, 1.0)])], Canvas(60, 10))
    assert shown[0].split()[0] == "1"
    assert shown[9].split()[0] == "0"
    assert shown[0].rstrip()[-1] > "\u2800"
    assert shown[9][LABEL_WIDTH + 1] > "\u2800"
    assert shown[0][LABEL_WIDTH + 1 : 40].strip() == ""
    assert shown[10].split() == ["1", "version", "80"]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40),
    st.integers(1, 200),
    st.integers(1, 60),
    st.booleans(),
)
def test_every_series_fits_its_canvas(
    values: list[float], width: int, height: int, plain_signs: bool
) -> None:
    canvas = Canvas(width, height, plain_signs)
    shown = _text([Line("a", list(enumerate(values))), Line("b", [(0, 0.0)])], canvas)
    assert {len(line) for line in shown} == {max(width, 34)}
    assert len(shown) == max(height, 4) + 1
    drawn = {sign for line in shown[:-1] for sign in line[LABEL_WIDTH + 1 :]}
    assert not plain_signs or drawn <= set(" *AB")
    assert "B" in drawn


def test_nothing_to_draw_is_said() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        plot([Line("a", [])], Canvas(60, 10))


def test_a_picture_of_several_runs_is_written(tmp_path: Path) -> None:
    other = history(4, name="other")
    draw([HISTORY, other], ["reward", "eval_greedy", "entropy", "groups"], tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
