"""What was made of each version, until the lab has it: one folder per version, whole or not there.

    <memory>/outbox-<version>/files/<role>     what goes to the lab
    <memory>/outbox-<version>/answer.json      written last: the folder is whole; it also names files
                                               that lie beside the folder and go to the lab as well

Law: an answer that got lost on its way is given again from here, byte for byte, or not at all: `answer.json`
names a digest of each file in the folder and one of itself, so that nothing damaged is published; what lies
beside is the learner's checkpoint, which has digests of its own.
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archipel.records.kept import Damaged, kept, read_kept
from archipel.work.kind import Answer, WorkFailed

ANSWER_FILE = "answer.json"
ANEW = "move the folder that it lies in away, and it is made again from the run's checkpoint"
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

    def files(self, version: int) -> Path:
        """Where the files of `version` go, once the first rank has begun it."""
        return self._box(version) / "files"

    def finish(
        self,
        version: int,
        values: Mapping[str, Any],
        beside: Mapping[str, Path],
        made_from: tuple[str | None, str | None],
    ) -> None:
        """The files of `version` are whole; those of old versions go.

        beside: role -> a file in the memory's folder that is part of the answer. made_from: state digest of the version before,
        and digest of the list of results; None for version 0.
        """
        names = {role: path.name for role, path in beside.items()}
        place = self._box(version) / ANSWER_FILE
        partial = place.with_suffix(".partial")
        digests = {path.name: _digest(path) for path in _own_files(place.parent)}
        told = {"values": dict(values), "beside": names, "digests": digests}
        partial.write_bytes(kept(told | {"parent": made_from[0], "inputs": made_from[1]}))
        partial.replace(place)
        for box in self._memory.glob("outbox-*"):
            number = box.name.removeprefix("outbox-")
            if number.isdecimal() and int(number) <= version - KEPT:
                shutil.rmtree(box)

    def about(self, version: int) -> dict[str, str]:
        """`policy`, `parent` and `inputs` of `version`, as far as they were written down here."""
        try:
            told = read_kept((self._box(version) / ANSWER_FILE).read_bytes())
            known = told | {"policy": told["values"].get("policy")}
        except (OSError, Damaged, KeyError, AttributeError):
            return {}  # whoever asks for the answer is told
        return {
            name: known[name]
            for name in ("policy", "parent", "inputs")
            if isinstance(known.get(name), str)
        }

    def answer(self, version: int) -> Answer:
        """The answer for `version`.

        Raises:
            WorkFailed: it is not there, or damaged.
        """
        box = self._box(version)
        try:
            told = read_kept((box / ANSWER_FILE).read_bytes())
            files = {path.name: path for path in _own_files(box)}
            digests = told.get("digests")  # none if it is from before there were any
            if digests is not None and {role: _digest(p) for role, p in files.items()} != digests:
                raise Damaged("its files are not those that were made")
            files |= {role: self._memory / name for role, name in told["beside"].items()}
        except FileNotFoundError:
            raise WorkFailed(
                f"version {version} was made before, but its files are gone from {box}; {ANEW}"
            ) from None
        except (Damaged, KeyError) as error:
            raise WorkFailed(
                f"version {version} was made before, but {box} is damaged ({error}); {ANEW}"
            ) from None
        return Answer(files, told["values"])

    def _box(self, version: int) -> Path:
        return self._memory / f"outbox-{version}"


def _own_files(box: Path) -> list[Path]:
    return list((box / "files").iterdir())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
