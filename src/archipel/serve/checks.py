"""What a question may ask for, whatever dialect it came in."""

from archipel.records.cuts import Cut
from archipel.records.requests import MAX_TEMPERATURE
from archipel.serve.question import (
    MAX_CHOICES,
    MAX_STOP_CHARS,
    MAX_STOPS,
    MAX_TOP,
    BadQuestion,
    Question,
    Settings,
)

MIN_TEMPERATURE = 1e-6
"""Below it logits are divided into infinities, and one question's infinities end a step that is everybody's."""


def check_tools(question: Question) -> None:
    """Raises BadQuestion: one without a name."""
    for tool in question.tools:
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name:
            raise BadQuestion("a tool has no name; expected type and function with a name", "tools")
    calling, names = question.calling, [each["function"]["name"] for each in question.tools]
    if calling.is_forced and not names:
        raise BadQuestion(
            "tool_choice forces a call and there are no tools; name one", "tool_choice"
        )
    if calling.name is not None and calling.name not in names:
        raise BadQuestion(
            f"tool_choice names {calling.name!r:.80}; expected one of {', '.join(names)}"[:400],
            "tool_choice",
        )


def check_settings(settings: Settings) -> None:
    """Raises BadQuestion: one that is out of its bounds."""
    fault = Cut(settings.top_k, settings.top_p, settings.min_p).fault
    is_sampled = MIN_TEMPERATURE <= settings.temperature <= MAX_TEMPERATURE
    are_short = all(1 <= len(each) <= MAX_STOP_CHARS for each in settings.stop)
    checks = (
        (is_sampled or settings.temperature == 0, "temperature", f"0, or {MIN_TEMPERATURE} to {MAX_TEMPERATURE:.0f}"),
        (1 <= settings.choices <= MAX_CHOICES, "choices", f"1 to {MAX_CHOICES}"),
        (settings.max_new_tokens is None or settings.max_new_tokens >= 1, "max_new_tokens", "1 or more"),
        (0 <= settings.num_top <= MAX_TOP, "num_top", f"0 to {MAX_TOP}"),
        (len(settings.stop) <= MAX_STOPS and are_short, "stop", f"at most {MAX_STOPS}, each of 1 to {MAX_STOP_CHARS} characters"),
    )  # fmt: skip
    for holds, name, expected in checks:
        if not holds:
            raise BadQuestion(
                f"{name} is {getattr(settings, name)!r:.60}; expected {expected}", name
            )
    if fault := fault or settings.bends.fault:
        raise BadQuestion(fault, fault.partition(" ")[0].rstrip(":"))
