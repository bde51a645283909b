"""Files that a command writes at its end, looked at before its work begins."""

import os
from pathlib import Path
from typing import Any

import click


class NewFile(click.ParamType):
    """A file to be written; one that is there is replaced.

    endings: what its name may end in, such as ".png"; whatever, when there are none.
    """

    name = "path"

    def __init__(self, *endings: str) -> None:
        self._endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; a place where nothing can be written is a mistake in usage."""
        path = Path(value)
        if self._endings and path.suffix.lower() not in self._endings:
            self.fail(
                f"{path}: expected a name that ends in {' or '.join(self._endings)}", param, ctx
            )
        if path.is_dir():
            self.fail(f"{path} is a folder; name a file in it", param, ctx)
        target = path if path.exists() else path.absolute().parent
        if not target.exists():
            self.fail(f"{path} cannot be written: there is no folder {target}", param, ctx)
        if not os.access(target, os.W_OK):
            self.fail(f"{path} cannot be written: {target} is closed to this user", param, ctx)
        return path


PICTURE = NewFile(".png", ".svg", ".pdf")
