"""Asking: a request goes to its question's file and comes back as a plan, or as its data.

`compare` and `report` ask questions again from what a saved plan stores; the command line asks them from
its options. Law: a question's file is imported only when it is asked.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archipel.planning.answering import Setting, answer
from archipel.planning.mistakes import CannotPlan, nearest
from archipel.planning.plan import Plan
from archipel.planning.requests import REQUESTS, Request, as_dict, options_of
from archipel.planning.tables import Shelf, shelf


@dataclass(frozen=True)
class Ask:
    """A question with everything that decides its answer."""

    question: str
    request: Request
    setting: Setting = field(default_factory=Setting)
    own: Mapping[str, Any] | None = None
    """The person's own table, parsed."""
    overrides: Sequence[str] = ()
    """`NAME=AMOUNT`, applied after the own table."""

    def shelf(self) -> Shelf:
        """The constants this question sees."""
        made = shelf(self.setting.as_of, self.own)
        for text in self.overrides:
            made.override(text)
        return made

    def plan(self) -> Plan:
        """The question's plan, not yet computed."""
        file = importlib.import_module(f"archipel.planning.questions.{self.question}")
        made: Plan = file.plan(self.request, self.shelf())
        return made

    def data(self) -> dict[str, Any]:
        """The answer as plain data, with enough to ask again."""
        asked = {"ask": self.saved()}
        return answer(self.plan(), self.setting) | asked

    def saved(self) -> dict[str, Any]:
        """What `again` needs."""
        return {
            "question": self.question,
            "request": as_dict(self.request),
            "setting": vars(self.setting).copy(),
            "own": dict(self.own) if self.own else None,
            "overrides": list(self.overrides),
        }


def again(saved: Mapping[str, Any], where: str) -> Ask:
    """The question that a saved plan answers.

    Raises:
        CannotPlan: not a saved plan, or one of a question or option that no longer exists.
    """
    found = saved.get("ask", saved)
    if not isinstance(found, Mapping) or not isinstance(found.get("request"), Mapping):
        raise CannotPlan(f"{where}: expected a plan saved with --json or --save")
    question = str(found.get("question"))
    if question not in REQUESTS:
        raise nearest(question, REQUESTS, "question")
    known = {each.name for each in options_of(REQUESTS[question])}
    for name in found["request"]:
        if name not in known:
            raise nearest(str(name), known, f"option of plan {question}")
    try:
        setting = Setting(**found.get("setting", {}))
    except TypeError:
        raise CannotPlan(f"{where}: expected seed, samples and as_of as its setting") from None
    request = REQUESTS[question](**found["request"])
    return Ask(question, request, setting, found.get("own"), tuple(found.get("overrides", ())))
