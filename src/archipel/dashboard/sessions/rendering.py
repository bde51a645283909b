"""The log-in's two pages as HTML: whatever comes from strangers is text, by jinja's escaping, and nothing is marked safe."""

from functools import cache
from typing import TYPE_CHECKING, Any

from archipel.dashboard.http import frame
from archipel.dashboard.pages import wording
from archipel.plurals import counted

if TYPE_CHECKING:
    from jinja2 import Environment

ACTS = {"pause": "Pause", "resume": "Resume", "retire": "Retire"}
COMMANDS = {
    "pause": "archipel operator pause {node} --lab {url}",
    "resume": "archipel operator resume {node} --lab {url}",
    "retire": "archipel operator revoke {node} --lab {url}",
}


def rendered(name: str, facts: dict[str, Any]) -> str:
    """A template of the package, in the frame of all pages. facts: what it names, and `lab`."""
    lab = str(facts["lab"])
    known = {"lab_short": wording.short_did(lab), "room": "me", "title": ""}
    return _environment().get_template(name).render(**(known | facts))


def printable(text: str) -> str:
    """Text of strangers in which nothing turns the reading direction or is invisible."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def credits_of(micro: int) -> str:
    """Micro-credits in credits."""
    return f"{micro / 1e6:,.6f}"


@cache
def _environment() -> "Environment":
    made = frame.environment().overlay()
    made.filters = made.filters | {"printable": printable, "credits": credits_of}
    made.globals = made.globals | {"ACTS": ACTS, "COMMANDS": COMMANDS, "counted": counted}
    return made
