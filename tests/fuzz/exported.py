"""Readers of what exporters wrote and go on with: files that anybody may have changed meanwhile."""

import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from archipel.curves.exporters.event_files import FILE_NAME, EventFile, read_event
from archipel.curves.exporters.lines import JsonLines
from archipel.curves.exporters.shape import CannotExport, Exporter
from archipel.curves.exporters.tables import csv_table
from archipel.curves.exporters.weights_and_biases import rows_of
from fuzz.reading import Reader
from histories import exam, history

KNOWN = history(2, exams=(exam(0, 0.5),))


def _opened(open_: Callable[[Path, str], Exporter], name: str, file: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        open_(Path(folder) / name, KNOWN.run).close()


def _written(open_: Callable[[Path, str], Exporter], name: str, file: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        exporter = open_(Path(folder) / name, KNOWN.run)
        exporter.add(KNOWN)
        exporter.close()
        return (Path(folder) / file).read_bytes()


def _of_wandb() -> bytes:
    """A file of two records as wandb writes them; checksums are not looked at."""
    from wandb.proto import wandb_internal_pb2

    data = b":W&B\xe1\xbe\x00"
    for version in range(2):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        for name, text in (("version", str(version)), ("at_s", "1.8e9"), ("train/reward", "0.5")):
            record.history.item.add(nested_key=[name], value_json=text)
        payload = record.SerializeToString()
        data += struct.pack("<IHB", 0, len(payload), 1) + payload
    return data


def _places(form: Callable[[Path, str], Exporter], name: str, file: str) -> Reader:
    specimen = _written(form, name, file)
    return Reader(lambda data: _opened(form, name, file, data), (specimen,), (CannotExport,))


def readers() -> dict[str, Reader]:
    """One for each."""
    events = _written(EventFile, "logs", f"logs/run/{FILE_NAME}")
    second = 16 + struct.unpack_from("<Q", events)[0]
    length = struct.unpack_from("<Q", events, second)[0]
    event = events[second + 12 : second + 12 + length]
    return {
        "exported JSON lines": _places(JsonLines, "a.jsonl", "a.jsonl"),
        "exported CSV": _places(csv_table, "a.csv", "a.csv"),
        "exported event files": _places(EventFile, "logs", f"logs/run/{FILE_NAME}"),
        "events of TensorBoard": Reader(read_event, (event,), (ValueError,)),
        "files of Weights & Biases": Reader(
            lambda data: list(rows_of(data, "run.wandb")), (_of_wandb(),), (CannotExport,)
        ),
    }
