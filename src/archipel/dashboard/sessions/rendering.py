"""The log-in's two pages as HTML, in the frame of all pages, where every text of a stranger is escaped."""

from functools import cache
from typing import TYPE_CHECKING, Any

from archipel.dashboard.http import frame
from archipel.dashboard.pages import wording
from archipel.plurals import counted

if TYPE_CHECKING:
    import jinja2

ACTS = {"pause": "Pause", "resume": "Resume", "retire": "Retire"}
COMMANDS = {
    "pause": "archipel operator pause {node} --lab {url}",
    "resume": "archipel operator resume {node} --lab {url}",
    "retire": "archipel operator revoke {node} --lab {url}",
}


def rendered(name: str, lab: str, facts: dict[str, Any]) -> str:
    """A template of the package; `lab`: whose pages these are."""
    known = {"lab": lab, "lab_short": wording.short_did(lab), "room": "me", "title": ""}
    return _environment().get_template(name).render(known | facts)


@cache
def _environment() -> "jinja2.Environment":
    made = frame.environment().overlay()
    made.filters = made.filters | {"credits": wording.amount, "short_did": wording.short_did}
    made.globals = made.globals | {"ACTS": ACTS, "COMMANDS": COMMANDS, "counted": counted}
    return made
