"""How OpenAI's clients say whether tools may be called: `tool_choice` and `parallel_tool_calls`."""

from collections.abc import Mapping
from typing import Any

from archipel.serve.question import BadQuestion, Calling


def calling_of(choice: str | Mapping[str, Any] | None, is_parallel: bool | None) -> Calling | None:
    """How tools may be called; None: not at all. choice: `tool_choice` of chat completions or of responses.

    Raises:
        BadQuestion: another choice.
    """
    is_single = is_parallel is False
    if choice in (None, "auto"):
        return Calling(is_single=is_single, is_several=is_parallel is True)
    if choice == "none":
        return None
    if choice == "required":
        return Calling(is_forced=True, is_single=is_single, is_several=is_parallel is True)
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        held = choice.get("function", choice)
        name = held.get("name") if isinstance(held, Mapping) else None
        if isinstance(name, str):
            return Calling(is_forced=True, name=name, is_single=True)
    raise BadQuestion(
        f"tool_choice is {choice!r:.80}; expected auto, none, required, or a function by name",
        "tool_choice",
    )
