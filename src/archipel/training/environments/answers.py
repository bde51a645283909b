"""What the answer of a worked text is, and when two answers are the same.

The answer stands on the line of the last `####`; a recipe may also accept it without the mark. A recipe
chooses its kind: `number`, `text`, `choice` or `set`. A reader turns a text into the answer's one canonical
form, or None, so that two answers are right exactly when the forms are the same string.
Law: reference answers and completions are read by the same reader, so a reference is right by itself.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from fractions import Fraction

from archipel.training.environments.numerals import last_number, number_at_start

MARK = "####"
"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168) ends each answer with this and the number."""

MAX_ANSWER_CHARS = 4096
"""A longer answer is read as none."""

KINDS = ("number", "text", "choice", "set")

Reader = Callable[[str], str | None]
"""A worked text -> the canonical form of its answer; None when it gives none."""

_AROUND = " \t*_`\"'"
_CHOICE = re.compile(
    r"[(\[{]?(?P<choice>[^\s()\[\]{}.,:;]+)(?:[)\]}.:*_`\"']+(?:\s+(?P<rest>.*))?)?", re.DOTALL
)
_BRACKETS = "()[]{}.,:;"


def make_reader(kind: str, anywhere: bool, choices: Iterable[str], ignore_case: bool) -> Reader:
    """How answers of one kind are read.

    Args:
        kind: one of `KINDS`. A number is read whole or not at all (see `numerals`) and compared by value.
            A text is compared after NFC and with runs of white space as one space, emphasis marks, quotes
            and a full stop around it left out. A choice is one of `choices`, also as `(B)` or `B. Paris`.
            A set is a list with commas, or with semicolons if there is one; order and repetition do not
            matter, elements that are numbers are compared by value, others as texts.
        anywhere: without a mark, a number is the last one of the text, any other answer its last line.
        choices: what may be chosen.
        ignore_case: for text and sets; a choice is read whatever its case when that is unambiguous.
    """
    if kind == "number":
        return lambda text: _read_number(text, anywhere)
    of_line = {
        "text": lambda line: _plain(line, ignore_case) or None,
        "choice": _choice_reader(tuple(choices)),
        "set": lambda line: _read_set(line, ignore_case),
    }[kind]

    def read(text: str) -> str | None:
        line = _marked_line(text)
        if line is None and anywhere:
            line = (text.strip().splitlines() or [""])[-1]
        return None if line is None or len(line) > MAX_ANSWER_CHARS else of_line(line)

    return read


def _marked_line(text: str) -> str | None:
    """What follows the last mark on its line, stripped; None without a mark."""
    _, mark, tail = text.rpartition(MARK)
    return (tail.strip().splitlines() or [""])[0] if mark else None


def final_number(text: str, anywhere: bool = False) -> Fraction | None:
    """The number right after the last mark, or without a mark, where `anywhere`, the last of the text."""
    line = _marked_line(text)
    if line is not None:
        return number_at_start(line)
    return last_number(text) if anywhere else None


def _read_number(text: str, anywhere: bool) -> str | None:
    number = final_number(text, anywhere)
    return None if number is None else str(number)


def _plain(text: str, ignore_case: bool) -> str:
    one_form = " ".join(unicodedata.normalize("NFC", text).split())
    bare = one_form.strip(_AROUND).removesuffix(".").rstrip(_AROUND)
    return bare.casefold() if ignore_case else bare


def _choice_reader(choices: tuple[str, ...]) -> Reader:
    by_case = {choice: choice for choice in choices}
    if len({choice.casefold() for choice in choices}) == len(choices):
        by_case |= {choice.casefold(): choice for choice in choices}

    def read(line: str) -> str | None:
        match = _CHOICE.fullmatch(line.strip(_AROUND))
        if match is None or chosen_too(match["rest"] or ""):
            return None
        named = match["choice"].strip(_AROUND)
        return by_case.get(named) or by_case.get(named.casefold())

    def chosen_too(rest: str) -> bool:
        """Whether what follows a choice names another: `B) or C)`; not `B) A city in France`."""
        words = rest.split()
        marked = [
            word for word in words if word.strip(_BRACKETS) in choices and word not in choices
        ]
        return bool(marked) or bool(words and words[0].casefold() in ("or", "and", "&"))

    return read


def _read_set(line: str, ignore_case: bool) -> str | None:
    """The elements in order, as JSON; None for an empty line (an empty set is `{}`)."""
    bare = line.strip(_AROUND).removesuffix(".").rstrip(_AROUND)
    if not bare:
        return None
    if bare[0] + bare[-1] in ("{}", "[]", "()"):
        bare = bare[1:-1].strip()
    parts = bare.split(";" if ";" in bare else ",") if bare else []
    elements = {_element(part, ignore_case) for part in parts}
    return None if "" in elements else json.dumps(sorted(elements), ensure_ascii=False)


def _element(text: str, ignore_case: bool) -> str:
    number = number_at_start(text.strip())
    whole = number is not None and len(text.split()) == 1
    return str(number) if whole else _plain(text, ignore_case)
