"""schemathesis as a process: a description, a door behind a socket, and what came of the requests that it drew.

Law: it sees nothing of whoever calls it, no proxy and no settings; it is over within SESSION_LIMIT_S.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REQUEST_LIMIT_S = 20
"""An answer that is not here by then is a hang."""
SESSION_LIMIT_S = 3600
THERE = "there.json"
"""In the working folder: what the door holds, for the hooks."""
SETTINGS = "schemathesis.toml"


@dataclass(frozen=True)
class Drive:
    """What the tool is told."""

    url: str
    checks: Sequence[str]
    hooks: str
    """A module that draws what no schema can say."""
    there: Mapping[str, Any]
    description: Mapping[str, Any] | None = None
    """None: the door's own, at /openapi.json."""
    headers: Mapping[str, str] = field(default_factory=dict)
    full: Sequence[int] = ()
    """Statuses from 500 on that the door documents, such as 503 of fullness."""


@dataclass(frozen=True)
class Driven:
    """What came of it."""

    num_requests: int
    is_clean: bool
    told: str
    """By the tool."""


async def driven(drive: Drive, folder: Path, options: Sequence[str]) -> Driven:
    """In `folder`, with further options of the tool."""
    report = folder / "report.json"
    (folder / THERE).write_text(json.dumps(drive.there))
    fine = ["2xx", "3xx", "4xx", *map(str, drive.full)]
    (folder / SETTINGS).write_text(
        f"[checks]\nnot_a_server_error.expected-statuses = {json.dumps(fine)}\n"
    )
    where = (f"{drive.url}/openapi.json",)
    if drive.description is not None:
        path = folder / "openapi.json"
        path.write_text(json.dumps(drive.description))
        where = (str(path), "--url", drive.url)
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "run", *where),
        *("--checks", ",".join(drive.checks), "--request-timeout", str(REQUEST_LIMIT_S)),
        *("--report", "json", "--report-json-path", str(report), "--no-color"),
        *("--warnings", "off", "--continue-on-failure", "--suppress-health-check", "all"),
        *(word for name, value in drive.headers.items() for word in ("-H", f"{name}: {value}")),
        *options,
    )
    told, code = await _run(command, folder, drive.hooks)
    known = json.loads(report.read_bytes()) if report.is_file() else {}
    num = known.get("test_cases", {}).get("generated", 0)
    return Driven(num, code == 0, told)


async def _run(command: Sequence[str], folder: Path, hooks: str) -> tuple[str, int | None]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=_environment(folder, hooks),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SESSION_LIMIT_S):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return told.decode("utf-8", "replace"), process.returncode


def _environment(folder: Path, hooks: str) -> dict[str, str]:
    path = os.pathsep.join(each for each in sys.path if each)
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": path,
        "SCHEMATHESIS_HOOKS": hooks,
    }
