"""The demo's ending: its model released, and the release looked at by processes without a network or a tensor library.

Parts: `Releasing` (the processes, one after the other, beside the judging), `Released` (what they said). Laws: what is told
comes out of the bundle and of those processes alone; leaving the block ends them.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from archipel import source_environment
from archipel.bench.endings import InOrder
from archipel.bench.site import PROGRAM, SiteFailed
from archipel.demo.offline import PROGRAM as OFFLINE
from archipel.demo.story import Performance
from archipel.identity import Identity
from archipel.release import places
from archipel.release.oms.key import SigningKey
from archipel.release.openness.card import Grade, read_grade

STATED: Final = "release.toml"
PAPER: Final = "paper.md"
TEXTS: Final = ("CC-BY-4.0", "CDLA-Permissive-2.0")
"""Licences that the owner's words name beside this software's own."""
OPERATOR_KEY: Final = "operator.key"
"""In a lab's home."""
TAIL_CHARACTERS = 800


@dataclass(frozen=True, slots=True)
class Source:
    """What is released."""

    run: str
    home: Path
    """The lab's."""
    secret: Path
    """File of what the verifier alone knew, which is given away."""


def source_of(show: Performance) -> Source:
    """Of the performance, once its processes have ended.

    Raises:
        ValueError: its recipe names no secret.
    """
    site, recipe = show.plan.folder / "site", show.recipe
    if recipe.secret_name is None:
        raise ValueError("the recipe names no secret")
    secret = site / "update" / "secrets" / recipe.secret_name
    return Source(recipe.run.name, site / "lab", secret)


def called(show: Performance, source: Source) -> dict[str, str]:
    """Key -> the name it has in the demo, the operator's too."""
    return show.names | {Identity.load(source.home / OPERATOR_KEY).did: "the operator"}


@dataclass(frozen=True, slots=True)
class Released:
    """What came of it."""

    bundle: Path
    made: Mapping[str, Any]
    """As `archipel release make --json` says it; so are the others of their commands."""
    verified: Mapping[str, Any]
    owned: Mapping[str, Any]
    traced: Mapping[str, Any]
    grade: Grade
    seconds: Mapping[str, float]
    """What each command took, from its start to its end, beside the judging."""
    waited_s: float
    """So long nothing else was left to do."""

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "bundle": str(self.bundle),
            "made": self.made,
            "verified": self.verified,
            "owned": self.owned,
            "traced": self.traced,
            "class": self.grade.classes.model_dump(mode="json"),
            "seconds": dict(self.seconds),
            "waited_s": self.waited_s,
        }


class Releasing(InOrder):
    """The processes; leaving the block ends the one that runs."""

    def __init__(self, folder: Path, environment: Mapping[str, str], limit_s: float) -> None:
        """folder: the bundle `release` goes there, the key that signs it and the log beside it."""
        self.bundle, self.key = folder / "release", folder / "release.key"
        self._log, self._limit_s = folder / "release.out", limit_s
        self._environment = {**source_environment(), **environment}
        self._said: dict[str, Mapping[str, Any]] = {}
        self._seconds: dict[str, float] = {}
        self._failed: SiteFailed | None = None
        self._is_over = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """End the one that runs."""
        with self._lock:
            self._is_over = True
            if self._process is not None:
                self._process.kill()
        if self._thread is not None:
            self._thread.join()

    def begin(self, source: Source, made: Callable[[Path], None] = lambda bundle: None) -> None:
        """Release it, and look at the release. `made`: told the bundle once it is there.

        Raises:
            OSError: the key cannot be written.
        """
        key = SigningKey.made()
        key.save(self.key)
        hint = key.public.hint
        self._thread = threading.Thread(target=self._work, args=(source, hint, made), daemon=True)
        self._thread.start()

    def finished(self) -> Released:
        """What came of it, once all of it is there.

        Raises:
            SiteFailed: a process failed, or takes too long.
        """
        if self._thread is None:
            raise SiteFailed("the release was not begun")
        began = time.monotonic()
        self._thread.join(self._limit_s)
        waited_s = time.monotonic() - began
        if self._thread.is_alive():
            raise SiteFailed(f"the release has no end after {self._limit_s:.0f} s: {self._tail()}")
        if self._failed is not None:
            raise self._failed
        grade = read_grade((self.bundle / places.OPENNESS).read_bytes())
        said = self._said
        return Released(
            bundle=self.bundle,
            made=said["make"],
            verified=said["verify"],
            owned=said["ownership"],
            traced=said["trace"],
            grade=grade,
            seconds=self._seconds,
            waited_s=waited_s,
        )

    def _work(self, source: Source, hint: str, made: Callable[[Path], None]) -> None:
        """All commands in their order; the first that fails is the last."""
        try:
            with as_file(files("archipel.demo") / "given") as given:
                self._run("make", PROGRAM, self._making(source, given))
            made(self.bundle)
            looks = {
                "verify": ["release", "verify", str(self.bundle), "--key", hint],
                "ownership": ["ownership", source.run, "--bundle", str(self.bundle)],
                "trace": ["trace", str(self.bundle)],
            }
            for name, words in looks.items():
                self._run(name, OFFLINE, words)
        except SiteFailed as error:
            self._failed = error
        except (OSError, ValueError) as error:
            self._failed = SiteFailed(f"the release failed: {error}")

    def _making(self, source: Source, given: Path) -> list[str]:
        said = {
            "--home": source.home,
            "--secret-file": source.secret,
            "--operator-key": source.home / OPERATOR_KEY,
            "--key": self.key,
            "--stated": given / STATED,
            "--paper": given / PAPER,
            "--out": self.bundle,
        }
        words = ["release", "make", source.run]
        words += [str(word) for pair in said.items() for word in pair]
        for name in TEXTS:
            words += ["--licence", f"{name}={given / name}.txt"]
        return words

    def _run(self, name: str, program: Sequence[str], words: Sequence[str]) -> None:
        """One command; what it says as JSON is kept.

        Raises:
            SiteFailed: it ended badly, or the block was left.
            ValueError: it said something else.
        """
        began = time.monotonic()
        with self._log.open("ab") as log:
            with self._lock:
                if self._is_over:
                    raise SiteFailed("the release was ended")
                self._process = subprocess.Popen(  # noqa: S603  our own program, no shell
                    [sys.executable, *program, *words, "--json"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=self._environment,
                )
            said, _ = self._process.communicate()
        self._seconds[name] = time.monotonic() - began
        if self._process.returncode != 0:
            raise SiteFailed(f"{name} ended with {self._process.returncode}: {self._tail()}")
        self._said[name] = json.loads(said)

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-TAIL_CHARACTERS:]
