"""Mixed questions of which a small model learns some and a larger one more: four kinds, drawn once, by number.

Parts: `KINDS`, `questions`, `write_questions`. Law: nothing here depends on chance that is not in `seed`; which question is held out,
the environment says by its text.
"""

import json
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

Asked = tuple[str, str]
"""What is asked, and the right answer."""
LETTERS = "abcdefghijklmnop"


def _larger(draw: random.Random) -> Asked:
    a, b = draw.sample(range(10, 100), 2)
    return f"A {a} B {b}? ", "A" if a > b else "B"


def _sorted(draw: random.Random) -> Asked:
    letters = draw.sample(LETTERS, draw.randint(4, 6))
    return f"sort {''.join(letters)}: ", "".join(sorted(letters))


def _backward(draw: random.Random) -> Asked:
    letters = draw.choices(LETTERS, k=draw.randint(4, 8))
    return f"back {''.join(letters)}: ", "".join(reversed(letters))


def _sums(draw: random.Random) -> Asked:
    a, b = draw.randrange(60), draw.randrange(60)
    return f"{a}+{b}=", f"{a + b}"


def _copied(draw: random.Random) -> Asked:
    letters = "".join(draw.choices(LETTERS, k=draw.randint(4, 8)))
    return f"say {letters}: ", letters


KINDS: Mapping[str, Callable[[random.Random], Asked]] = {
    "larger": _larger, "sorted": _sorted, "backward": _backward, "sums": _sums,
}  # fmt: skip

OTHER: Mapping[str, Callable[[random.Random], Asked]] = {"copied": _copied}
"""Of which a base learns a little, and that no specialist is made for."""


def questions(kinds: Iterable[str], count: int, seed: int) -> list[tuple[str, str, str]]:
    """(kind, question, answer), `count` different ones, kinds in turn."""
    draw, named = random.Random(f"cascade {seed}"), tuple(kinds)  # noqa: S311 - tasks, not secrets
    found: dict[str, tuple[str, str, str]] = {}
    tries = 0
    while len(found) < count and tries < 20 * count:
        kind = named[tries % len(named)]
        question, answer = {**KINDS, **OTHER}[kind](draw)
        found.setdefault(question, (kind, question, answer))
        tries += 1
    return list(found.values())


def write_questions(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """A question file as `archipel serve calibrate` and recipes read them."""
    lines = [
        json.dumps({"question": question, "answer": f"#### {answer}", "kind": kind})
        for kind, question, answer in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
