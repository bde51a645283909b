"""What was made of each version, until the lab has it: one folder per version, whole or not there.

    <memory>/outbox-<version>/files/<role>     what goes to the lab
    <memory>/outbox-<version>/answer.json      written last: the folder is whole; it also names files
                                               that lie beside the folder and go to the lab as well

Law: an answer that got lost on its way is given again from here, byte for byte.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archipel.work.kind import Answer, WorkFailed

ANSWER_FILE = "answer.json"
KEPT = 2
"""Newest versions whose files stay."""


class Outbox:
    """The outbox of one run."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def begin(self, version: int) -> Path:
        """An empty folder for the files of `version`."""
        box = self._box(version)
        if box.exists():
            shutil.rmtree(box)
        files = box / "files"
        files.mkdir(parents=True)
        return files

    def finish(self, version: int, values: Mapping[str, Any], beside: Mapping[str, Path]) -> None:
        """The files of `version` are whole; those of old versions go.

        beside: role -> a file in the memory's folder that is part of the answer.
        """
        names = {role: path.name for role, path in beside.items()}
        place = self._box(version) / ANSWER_FILE
        partial = place.with_suffix(".partial")
        partial.write_text(json.dumps({"values": dict(values), "beside": names}))
        partial.replace(place)
        for box in self._memory.glob("outbox-*"):
            number = box.name.removeprefix("outbox-")
            if number.isdecimal() and int(number) <= version - KEPT:
                shutil.rmtree(box)

    def answer(self, version: int) -> Answer:
        """The answer for `version`.

        Raises:
            WorkFailed: it is not there.
        """
        box = self._box(version)
        try:
            told: dict[str, Any] = json.loads((box / ANSWER_FILE).read_text())
        except FileNotFoundError:
            raise WorkFailed(
                f"version {version} was made before, but its files are gone from {box}"
            ) from None
        files = {path.name: path for path in (box / "files").iterdir()}
        files |= {role: self._memory / name for role, name in told["beside"].items()}
        return Answer(files, told["values"])

    def _box(self, version: int) -> Path:
        return self._memory / f"outbox-{version}"
