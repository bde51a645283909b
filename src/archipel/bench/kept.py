"""What a measurement has found so far, a line a step in one file, so that whoever starts it again goes on.

A step is known by all that was asked of it, torch's version and the instructions it may use: a step of
other words is another one. Which source measured it is kept beside and told by `sources`, never guessed.
Law: a line counts once it is whole on the disk; one that a death cut short is measured again.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter

STEPS = "steps.jsonl"
MAX_BYTES = 1 << 28
"""Of the file; a step has a few hundred."""
Asked = Mapping[str, Any]
T = TypeVar("T")


class NotOurs(ValueError):
    """A file in the way that no measurement wrote."""


class Kept:
    """The steps of a folder.

    Raises:
        NotOurs: the file there is another's.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / STEPS
        self._found: dict[str, dict[str, Any]] = {}
        self._read()

    def find(self, asked: Asked) -> Any:
        """What this step found; None if it has not been measured here."""
        line = self._found.get(_key(asked))
        return None if line is None else line["found"]

    def keep(self, asked: Asked, found: Any) -> Any:
        """Put a step on the disk; returns `found` as JSON has it."""
        line = {"key": _key(asked), "found": found, "source": source_digest()}
        text = json.dumps(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._found[line["key"]] = json.loads(text)
        return self.find(asked)

    def value(self, asked: Asked, kind: type[T], measure: Callable[[], T]) -> T:
        """What this step found, as a value of a plain frozen class; measured now if it has not been."""
        form, found = TypeAdapter(kind), self.find(asked)
        if found is not None:
            return form.validate_python(found)
        value = measure()
        self.keep(asked, form.dump_python(value, mode="json"))
        return value

    def among(self, steps: Sequence[Asked]) -> list[Asked]:
        """Those of the steps that were found."""
        return [asked for asked in steps if _key(asked) in self._found]

    def sources(self, steps: Sequence[Asked]) -> dict[str, int]:
        """How many of these steps each version of the source has measured."""
        counts: dict[str, int] = {}
        for asked in steps:
            line = self._found.get(_key(asked))
            if line is not None:
                counts[line["source"]] = counts.get(line["source"], 0) + 1
        return counts

    def _read(self) -> None:
        if not self.path.exists():
            return
        if self.path.stat().st_size > MAX_BYTES:
            raise NotOurs(f"{self.path} has more than {MAX_BYTES} bytes; choose another folder")
        data = self.path.read_bytes()
        whole, _, torn = data.rpartition(b"\n")
        for number, text in enumerate(whole.splitlines(), 1):
            try:
                line = json.loads(text)
                self._found[line["key"]] = {"found": line["found"], "source": line["source"]}
            except (ValueError, KeyError, TypeError):
                raise NotOurs(
                    f"line {number} of {self.path} is no step of a measurement; choose another folder"
                ) from None
        if torn:
            os.truncate(self.path, len(data) - len(torn))


def attempt(folder: Path) -> Path:
    """A folder in this one for what a measurement leaves behind beside its steps, which no attempt had before."""
    return folder / f"attempt-{1 + len(list(folder.glob('attempt-*')))}"


def _key(asked: Asked) -> str:
    """The same words in whatever order are the same step."""
    here = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    return json.dumps({**asked, **here}, sort_keys=True)


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Of every module of this package, 16 hex digits."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
