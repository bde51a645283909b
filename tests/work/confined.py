"""Programs in confined children of their own, and what this kernel offers to confine them by."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from archipel import source_environment

PROLOGUE = """
import json, os, signal, socket, sys, threading, time
from pathlib import Path
from archipel.work.sandbox import Limits, restrict
def attempt(action):
    try:
        action()
        return "done"
    except BaseException as error:
        return type(error).__name__
def say(**facts):
    print(json.dumps(facts), flush=True)
"""


def in_child(
    program: str, *arguments: Any, timeout_s: float = 60, between: Callable[[], object] = int
) -> dict[str, Any]:
    """What `program` says last, run in a child that knows nothing but its source.

    between: done when it has said its first line; then it gets a byte.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=source_environment(),
    ) as child:
        try:
            if between is not int:
                assert child.stdout is not None
                child.stdout.readline()
                between()
            out, err = child.communicate("x", timeout=timeout_s)
        finally:
            child.kill()
    assert child.returncode == 0, err
    return dict(json.loads(out.splitlines()[-1]))


def _report() -> dict[str, Any]:
    limits = "Limits(address_space_bytes=2**32, cpu_s=100, file_bytes=2**30)"
    return in_child(f"say(**{{name: True for name in restrict({limits}).holding()}})")


HOLDING = _report() if sys.platform.startswith("linux") else {}


def needs(*protections: str) -> pytest.MarkDecorator:
    """Skip where this kernel does not offer what the test is about."""
    missing = [name for name in protections if name not in HOLDING]
    return pytest.mark.skipif(bool(missing), reason=f"this kernel does not offer {missing}")


def plain(program: str) -> str:
    """The program without the indentation it has here."""
    lines = program.splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines)
