"""Tools as models call them: read from what a model said, strictly and with bounds, and written for examples.

| format | a call | result goes to the model as |
|---|---|---|
| hermes | `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, several perhaps (Hermes, Qwen) | role `tool` |
| llama | the turn is `{"name": ..., "parameters": {...}}` (Llama 3.1 and later) | role `tool` |
| plain | the turn is `name(argument)`, of a tool with one parameter (models without a template for tools) | role `user` |

Parts: `Tool`, `Call`, `format_of`, `read_calls`, `written_call`. Law: pure; what is nearly a call is a `BadCall`
that says why, never a call, and no text is ever evaluated.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

Format = Literal["hermes", "llama", "plain"]

MAX_CALLS = 8
"""In one turn."""
MAX_CALL_CHARS = 16_384
_HERMES = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_PLAIN = re.compile(r"([a-z_][a-z0-9_]{0,63})\(([^()\n]{0,1024})\)")
_ARGUMENTS = {"hermes": "arguments", "llama": "parameters"}


class BadCall(ValueError):
    """A text that was meant as a call and is none; the message is for the model, in lower case."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that an environment offers; all of its parameters are texts and must be given."""

    name: str
    description: str
    parameters: Mapping[str, str]
    """Name -> what it means."""

    @property
    def schema(self) -> dict[str, Any]:
        """As chat templates are given it."""
        properties = {
            name: {"type": "string", "description": said} for name, said in self.parameters.items()
        }
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": {
                    "type": "object",
                    "properties": properties,
                    "required": list(self.parameters),
                },
            },
        }


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that exists, with the arguments that it takes."""

    name: str
    arguments: Mapping[str, str]


def format_of(template: str | None) -> Format:
    """How a model with this chat template calls tools: as the template shows it."""
    if template is None or "tools" not in template:
        return "plain"
    if "<tool_call>" in template:
        return "hermes"
    return "llama" if "ipython" in template and '"parameters"' in template else "plain"


def read_calls(said: str, form: Format, tools: Sequence[Tool]) -> tuple[Call, ...]:
    """The calls of one turn, in order; none if it calls nothing.

    Raises:
        BadCall: it calls, but not so that it could be answered.
    """
    known = {tool.name: tool for tool in tools}
    if form == "plain":
        found = _PLAIN.fullmatch(said.strip())
        if found is None or found[1] not in known:
            return ()
        return (_checked(found[1], dict.fromkeys(known[found[1]].parameters, found[2]), known),)
    texts = _texts(said, form)
    if len(texts) > MAX_CALLS:
        raise BadCall(f"{len(texts)} calls in one turn; at most {MAX_CALLS}")
    return tuple(_call(text, _ARGUMENTS[form], known) for text in texts)


def written_call(call: Call, form: Format) -> str:
    """The call as a model says it; `read_calls` reads it back."""
    if form == "plain":
        (argument,) = call.arguments.values()
        return f"{call.name}({argument})"
    text = json.dumps({"name": call.name, _ARGUMENTS[form]: dict(call.arguments)})
    return f"<tool_call>\n{text}\n</tool_call>" if form == "hermes" else text


def _texts(said: str, form: Format) -> list[str]:
    if form == "hermes":
        found = _HERMES.findall(said)
        if len(found) != said.count("<tool_call>"):
            raise BadCall("a call is not closed by </tool_call>")
        return found
    whole = said.strip()
    return [whole] if whole.startswith("{") and '"name"' in whole else []


def _call(text: str, arguments: str, known: Mapping[str, Tool]) -> Call:
    if len(text) > MAX_CALL_CHARS:
        raise BadCall(f"a call of {len(text)} characters; at most {MAX_CALL_CHARS}")
    try:
        told = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadCall("a call is not json") from None
    if not isinstance(told, dict) or set(told) != {"name", arguments}:
        raise BadCall(f"a call needs name and {arguments}, and nothing else")
    return _checked(told["name"], told[arguments], known)


def _checked(name: Any, arguments: Any, known: Mapping[str, Tool]) -> Call:
    if not isinstance(name, str) or name not in known:
        raise BadCall(f"no such tool; there are {', '.join(known) or 'none'}")
    wanted = known[name].parameters
    if not isinstance(arguments, dict) or set(arguments) != set(wanted):
        raise BadCall(f"{name} takes {', '.join(wanted) or 'nothing'}, and nothing else")
    if not all(isinstance(value, str) for value in arguments.values()):
        raise BadCall(f"every argument of {name} is a text")
    return Call(name, {each: arguments[each] for each in wanted})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")
