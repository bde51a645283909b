"""A question put in one argument: a file saved with --save, or the words one would type after `archipel plan`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import Mendable
from archipel.cli.questions import asked, question_command, read_text
from archipel.planning.requests import REQUESTS

if TYPE_CHECKING:
    from archipel.planning.asking import Ask


def put(text: str) -> "tuple[str, Ask]":
    """The question that `text` puts, with a label: a saved plan's name, or the words themselves.

    Raises:
        Mendable: no such file, not JSON, or options that the question does not have.
        CannotPlan: not a saved plan, no such question.
    """
    if text.endswith(".json") and (" " not in text or Path(text).is_file()):
        return _saved(Path(text))
    return text, _written(text)


def _saved(path: Path) -> "tuple[str, Ask]":
    from archipel.planning.asking import again

    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise Mendable(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Mendable(f"{path}: expected a plan saved with --save or --json")
    return path.stem, again(found, str(path))


def _written(text: str) -> "Ask":
    from archipel.planning.mistakes import nearest

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Mendable(f"{text!r}: {error}") from None
    words = words[1:] if words[:1] == ["plan"] else words
    if not words:
        raise Mendable('got an empty request, expected for instance "lab --kind h100"')
    if words[0] not in REQUESTS:
        raise nearest(words[0], REQUESTS, "question")
    try:
        put_by = question_command(words[0], "")
        with put_by.make_context(words[0], words[1:], help_option_names=[]) as context:
            return asked(words[0], context.params)
    except click.UsageError as error:
        raise Mendable(f"{text!r}: {error.format_message()}") from None
