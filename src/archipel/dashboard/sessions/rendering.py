"""The log-in's two pages as HTML: whatever comes from strangers is text, by jinja's escaping, and nothing is marked safe."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from archipel.plurals import counted

OWN_FRAME = "login_frame.html.j2"
ACTS = {"pause": "Pause", "resume": "Resume", "retire": "Retire"}
COMMANDS = {
    "pause": "archipel operator pause {node} --lab {url}",
    "resume": "archipel operator resume {node} --lab {url}",
    "retire": "archipel operator revoke {node} --lab {url}",
}


def rendered(name: str, facts: dict[str, Any]) -> str:
    """A template of the package, in the frame that `facts` names, or a plain one."""
    return _environment().get_template(name).render(**({"frame": OWN_FRAME} | facts))


def printable(text: str) -> str:
    """Text of strangers in which nothing turns the reading direction or is invisible."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def credits_of(micro: int) -> str:
    """Micro-credits in credits."""
    return f"{micro / 1e6:,.6f}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("archipel.dashboard"), autoescape=True, undefined=StrictUndefined
    )
    made.filters |= {"printable": printable, "credits": credits_of}
    made.globals |= {"ACTS": ACTS, "COMMANDS": COMMANDS, "counted": counted}
    return made
