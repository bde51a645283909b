"""Tool calls in what a model said: found and parted from the text, not judged. Pure.

`model.tool_calls` reads the calls of environments, whose tools are known here and take texts alone. A client's tools
are its own: here a call is any JSON object with a name and arguments in the model's own form; the client checks it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from archipel.model.tool_calls import MAX_CALL_CHARS, MAX_CALLS, Format
from archipel.serve.question import Call

_HERMES = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_ARGUMENTS = ("arguments", "parameters")


def parted(
    said: str, form: Format, tools: Sequence[Mapping[str, Any]]
) -> tuple[str, tuple[Call, ...]]:
    """The text beside the calls, and the calls; all of it is text where one of them is none, or names no tool."""
    names = {each.get("function", {}).get("name") for each in tools}
    if form == "hermes":
        texts, rest = _HERMES.findall(said), _HERMES.sub("", said)
    else:
        whole = said.strip()
        texts, rest = ([whole], "") if whole.startswith("{") else ([], said)
    calls = [call for text in texts[:MAX_CALLS] if (call := _read(text, names)) is not None]
    if not calls or len(calls) < len(texts):
        return said, ()
    return rest.strip(), tuple(calls)


def _read(text: str, names: set[str]) -> Call | None:
    if len(text) > MAX_CALL_CHARS:
        return None
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.get("name") not in names:
        return None
    arguments: Any = next((told[key] for key in _ARGUMENTS if key in told), {})
    return Call(told["name"], json.dumps(arguments)) if isinstance(arguments, dict) else None
