"""What a question may ask for, whatever dialect it came in."""

from archipel.records.cuts import Cut
from archipel.records.requests import MAX_TEMPERATURE
from archipel.serve.question import MAX_CHOICES, MAX_STOPS, BadQuestion, Question, Settings


def check_tools(question: Question) -> None:
    """Raises BadQuestion: one without a name."""
    for tool in question.tools:
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name:
            raise BadQuestion("a tool has no name; expected type and function with a name", "tools")


def check_settings(settings: Settings) -> None:
    """Raises BadQuestion: one that is out of its bounds."""
    fault = Cut(settings.top_k, settings.top_p, settings.min_p).fault
    checks = (
        (0 <= settings.temperature <= MAX_TEMPERATURE, "temperature", f"0 to {MAX_TEMPERATURE:.0f}"),
        (1 <= settings.choices <= MAX_CHOICES, "choices", f"1 to {MAX_CHOICES}"),
        (settings.max_new_tokens is None or settings.max_new_tokens >= 1, "max_new_tokens", "1 or more"),
        (len(settings.stop) <= MAX_STOPS and all(settings.stop), "stop", f"at most {MAX_STOPS}, none empty"),
    )  # fmt: skip
    for holds, name, expected in checks:
        if not holds:
            raise BadQuestion(
                f"{name} is {getattr(settings, name)!r:.60}; expected {expected}", name
            )
    if fault := fault or settings.bends.fault:
        raise BadQuestion(fault, fault.partition(" ")[0].rstrip(":"))
