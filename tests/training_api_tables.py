"""The tables of docs/reference/training-api.md, from the door's own table of calls.

`python tests/training_api_tables.py docs/reference/training-api.md` writes them anew between their marks; a test fails when the
page is not current. Law: nothing about a call stands here.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from archipel.door.wire import bounds, errors
from archipel.door.wire.calls import BASE, CALLS, Standing

SAID: dict[Standing, str] = {"supported": "yes", "differs": "otherwise", "refused": "no"}
_MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def current(page: str) -> str:
    """The page with its tables as the source has them."""
    return _MARK.sub(lambda mark: mark[1] + "\n".join(TABLES[mark[2]]()) + "\n" + mark[3], page)


def _calls() -> Iterator[str]:
    yield from ("| call | done here | clients | |", "|---|---|---|---|")
    for call in CALLS:
        clients = f"{call.since} to {call.until}" if call.until else f"from {call.since}"
        path = BASE + call.path.replace("*}", "}")
        yield f"| `{call.method} {path}` | {SAID[call.standing]} | {clients} | {call.note} |"


def _refusals() -> Iterator[str]:
    yield from ("| kind | status | may pass | a failed future says |", "|---|---|---|---|")
    for kind, status in errors.STATUSES.items():
        passes = "yes" if kind in errors.PASSING else "no"
        yield f"| `{kind}` | {status} | {passes} | `{errors.CATEGORIES[kind]}` |"


def _bounds() -> Iterator[str]:
    yield from ("| bound | value |", "|---|---|")
    for name, value in vars(bounds).items():
        if name.startswith(("MAX_", "MIN_")):
            yield f"| `{name}` | {value:,} |"


TABLES = {"calls": _calls, "refusals": _refusals, "bounds": _bounds}


if __name__ == "__main__":
    written = Path(sys.argv[1])
    written.write_text(current(written.read_text("utf-8")), "utf-8")
