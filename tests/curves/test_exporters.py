"""Exporters go on where their file ends: what is in it is written once, whatever was killed when."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.curves.event_file import event_file
from archipel.curves.exporters.event_files import FILE_NAME, EventFile
from archipel.curves.exporters.lines import JsonLines
from archipel.curves.exporters.shape import EVAL, TRAIN, CannotExport, Exporter, unheld
from archipel.curves.exporters.tables import csv_table, parquet_table
from archipel.curves.exporters.weights_and_biases import WandbRun, rows_of
from archipel.curves.history import History
from archipel.curves.lines import thinned
from archipel.curves.report import Told, report
from histories import exam, history

WHOLE = history(6, exams=(exam(0, 0.25), exam(6, 0.5)))
EARLY = replace(history(3), exams=())
PLACES: dict[str, tuple[Callable[[Path, str], Exporter], str, str]] = {
    "jsonl": (JsonLines, "mine.jsonl", "mine.jsonl"),
    "csv": (csv_table, "mine.csv", "mine.csv"),
    "parquet": (parquet_table, "mine.parquet", "mine.parquet"),
    "tensorboard": (EventFile, "logs", f"logs/run/{FILE_NAME}"),
}
KEYS = {(TRAIN, version) for version in range(7)} | {(EVAL, 0), (EVAL, 6)}


def _go_on(open_: Callable[[Path, str], Exporter], path: Path, known: History) -> frozenset:
    exporter = open_(path, known.run)
    exporter.add(unheld(known, exporter.held()))
    exporter.close()
    return exporter.held()


@pytest.mark.parametrize("form", PLACES)
def test_what_is_held_is_read_from_the_file_and_a_late_evaluation_is_added(
    form: str, tmp_path: Path
) -> None:
    open_, name, file = PLACES[form]
    assert _go_on(open_, tmp_path / name, EARLY) == {(TRAIN, version) for version in range(4)}
    assert _go_on(open_, tmp_path / name, WHOLE) == KEYS
    before = (tmp_path / file).read_bytes()
    exporter = open_(tmp_path / name, "run")
    assert exporter.held() == KEYS, "read back from the file itself"
    exporter.close()
    assert (tmp_path / file).read_bytes() == before


@pytest.mark.parametrize("form", ["jsonl", "tensorboard"])
def test_a_writer_killed_at_any_byte_leaves_a_file_that_comes_out_whole(
    form: str, tmp_path: Path
) -> None:
    open_, name, file = PLACES[form]
    _go_on(open_, tmp_path / name, WHOLE)
    whole = (tmp_path / file).read_bytes()
    for size in range(0, len(whole), max(len(whole) // 40, 1)):
        (tmp_path / file).write_bytes(whole[:size])
        assert _go_on(open_, tmp_path / name, WHOLE) == KEYS
        assert len((tmp_path / file).read_bytes()) == len(whole), size


@pytest.mark.parametrize("form", PLACES)
def test_what_no_exporter_wrote_is_refused_and_left_as_it_was(form: str, tmp_path: Path) -> None:
    open_, name, file = PLACES[form]
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    for found in (b"my notes", b"my notes\nof today\n", bytes(range(256)) * 8):
        (tmp_path / file).write_bytes(found)
        with pytest.raises(CannotExport, match="name another"):
            open_(tmp_path / name, "run")
        assert (tmp_path / file).read_bytes() == found


@pytest.mark.parametrize("version", ["9" * 30, "-1", "inf", "1.5"])
def test_a_version_that_is_none_is_refused(version: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"run,version,at_s\nrun,{version},1\n")
    with pytest.raises(CannotExport, match="name another"):
        csv_table(tmp_path / "a.csv", "run")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"run": ["run"], "version": [float(version)], "at_s": [1.0]}
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    with pytest.raises(CannotExport, match="name another"):
        parquet_table(tmp_path / "a.parquet", "run")


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_file_of_another_run_is_refused(form: str, tmp_path: Path) -> None:
    open_, name, _ = PLACES[form]
    _go_on(open_, tmp_path / name, EARLY)
    with pytest.raises(CannotExport, match="holds run 'run', expected 'other'"):
        open_(tmp_path / name, "other")


def test_every_form_holds_the_same_numbers(tmp_path: Path) -> None:
    from pyarrow.parquet import read_table

    for open_, name, _ in PLACES.values():
        _go_on(open_, tmp_path / name, WHOLE)
    expected = WHOLE.series("reward")
    lines = [json.loads(line) for line in (tmp_path / "mine.jsonl").read_text().splitlines()]
    assert [(row["version"], row["reward"]) for row in lines if "reward" in row] == expected
    with (tmp_path / "mine.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["reward"]]
    assert [(int(row["version"]), float(row["reward"])) for row in rows] == expected
    table = read_table(tmp_path / "mine.parquet").to_pylist()
    found = [(row["version"], row["reward"]) for row in table if row["reward"] is not None]
    assert found == expected
    assert [row["eval_greedy"] for row in table if row["eval_greedy"] is not None] == [0.25, 0.5]
    assert (tmp_path / "logs" / "run" / FILE_NAME).read_bytes() == event_file(WHOLE)


@pytest.mark.slow
def test_tensorboard_reads_every_scalar_of_a_file_that_was_appended_to(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _go_on(EventFile, tmp_path, EARLY)
    _go_on(EventFile, tmp_path, WHOLE)
    read = EventAccumulator(str(tmp_path / "run"), size_guidance={"scalars": 0})
    read.Reload()
    for name in WHOLE.names():
        tag = f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"
        found = [(event.step, event.value) for event in read.Scalars(tag)]
        assert found == [(step, pytest.approx(value)) for step, value in WHOLE.series(name)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_offline_holds_every_version_once_over_two_folders(
    tmp_path: Path,
) -> None:
    assert _go_on(WandbRun, tmp_path, EARLY) == {(TRAIN, version) for version in range(4)}
    assert _go_on(WandbRun, tmp_path, WHOLE) == KEYS
    again = WandbRun(tmp_path, "run")
    assert again.held() == KEYS, "read back from wandb's own files"
    again.close()
    files = sorted(tmp_path.glob("wandb/offline-run-*/run-run.wandb"))
    assert len(files) == 2
    rows = [row for path in files for row in rows_of(path.read_bytes(), str(path))]
    found = sorted((row["version"], row["train/reward"]) for row in rows if "train/reward" in row)
    assert found == WHOLE.series("reward")
    assert [row["eval/greedy"] for row in rows if "eval/greedy" in row] == [0.25, 0.5]


HOSTILE = "<script>alert(1)</script>&\"'"


def test_a_report_is_the_same_bytes_again_and_no_text_in_it_becomes_markup() -> None:
    told = Told(
        history=replace(WHOLE, run=HOSTILE),
        facts=[(HOSTILE, HOSTILE)],
        workers=[(HOSTILE, HOSTILE, 3)],
        audits=[(7, HOSTILE, HOSTILE, HOSTILE)],
        published={version: version + 10 for version in range(7)},
        rated={6: 99},
        check=HOSTILE,
    )
    page = report(told)
    assert page == report(told)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 9
    assert "<td>16</td><td>99</td>" in page, "version 6, its entry and that of its evaluation"
    for name in WHOLE.names():
        if not name.endswith(("_low", "_high")):
            assert f"<figcaption>{name.replace('_', ' ')}</figcaption><svg" in page


def test_thinning_a_line_loses_no_peak_and_neither_end() -> None:
    points = [(float(x), 1.0 if x == 5_003 else x / 1e6) for x in range(10_000)]
    kept = thinned(points)
    assert len(kept) <= 600
    assert {points[0], points[-1], points[5_003]} <= set(kept)
    assert kept == sorted(kept)
