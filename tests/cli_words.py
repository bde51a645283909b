"""What a command prints for machines, and how it ends."""

import io
import json
from contextlib import redirect_stdout
from typing import Any

import pytest

from archipel.cli.archipel import run


def told(*words: object) -> tuple[int, Any]:
    """(exit code, its JSON)."""
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as ended:
        run([*map(str, words)])
    return int(ended.value.code or 0), json.loads(out.getvalue())
