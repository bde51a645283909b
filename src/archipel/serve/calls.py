"""Tool calls in what a model said: found and parted from the text, not judged. Pure.

Parts: `Parting` (while an answer comes), `parted` (of a whole one).

`model.tool_calls` reads the calls of environments, whose tools are known here and take texts alone. A client's tools
are its own: here a call is any JSON object with a name and arguments in the model's own form; the client checks it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from archipel.model.tool_calls import MAX_CALL_CHARS, MAX_CALLS, Format
from archipel.serve.question import Call

OPENS, CLOSES = "<tool_call>", "</tool_call>"
_HERMES = re.compile(f"{OPENS}(.*?)(?:{CLOSES}|\\Z)", re.DOTALL)
_ARGUMENTS = ("arguments", "parameters")


class Parting:
    """Of one answer, while it comes: text is told as soon as it is certain to be none of a call."""

    def __init__(self, form: Format, tools: Sequence[Mapping[str, Any]]) -> None:
        self._form, self._names = form, {each.get("function", {}).get("name") for each in tools}
        self._said, self._told = "", 0

    def say(self, text: str) -> str:
        """What is certain now; blanks are held until something follows them."""
        self._said += text
        certain = self._certain().rstrip()
        new, self._told = certain[self._told :], len(certain)
        return new

    def end(self) -> tuple[str, tuple[Call, ...]]:
        """The rest of the text, and the calls."""
        rest, calls = _parted(self._said, self._form, self._names)
        if not calls:
            return self._said[self._told :], ()
        return (rest.rstrip()[self._told :] if self._told else rest.strip()), calls

    def _certain(self) -> str:
        said = self._said
        if self._form != "hermes":
            return "" if said.lstrip().startswith("{") else said
        at = said.find(OPENS, self._told)
        if at >= 0:
            return said[:at]
        most = min(len(said), len(OPENS) - 1)
        held = next(n for n in range(most, -1, -1) if said.endswith(OPENS[:n]))
        return said[: len(said) - held]


def parted(
    said: str, form: Format, tools: Sequence[Mapping[str, Any]]
) -> tuple[str, tuple[Call, ...]]:
    """The text beside the calls, and the calls; all of it is text where one of them is none, or names no tool."""
    names = {each.get("function", {}).get("name") for each in tools}
    rest, calls = _parted(said, form, names)
    return (rest.strip() if calls else said), calls


def _parted(said: str, form: Format, names: set[str]) -> tuple[str, tuple[Call, ...]]:
    if form == "hermes":
        texts, rest = _HERMES.findall(said), _HERMES.sub("", said)
    else:
        whole = said.strip()
        texts, rest = ([whole], "") if whole.startswith("{") else ([], said)
    calls = [call for text in texts[:MAX_CALLS] if (call := _read(text, names)) is not None]
    if not calls or len(calls) < len(texts):
        return said, ()
    return rest, tuple(calls)


def _read(text: str, names: set[str]) -> Call | None:
    if len(text) > MAX_CALL_CHARS:
        return None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    name = told.get("name") if isinstance(told, dict) else None
    if not isinstance(name, str) or name not in names:
        return None
    arguments: Any = next((told[key] for key in _ARGUMENTS if key in told), {})
    return Call(name, json.dumps(arguments)) if isinstance(arguments, dict) else None
