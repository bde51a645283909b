"""Answers kept in `golden/`: what each question said before its code was written anew, over a grid of options.

A kept answer holds every text of the first case and every number of all: values and intervals to nine digits,
once each, however many tables show them. `keep` writes them; it is run on code that is believed, by
`PYTHONPATH=src:tests python -m planning.golden QUESTION ...`, and a difference is only kept with a reason; with
`--only verdict` nothing but that part of each answer is written again.
"""

import json
import sys
from pathlib import Path
from typing import Any

from archipel.planning.answering import Setting
from archipel.planning.asking import Ask
from archipel.planning.mistakes import CannotPlan
from archipel.planning.requests import REQUESTS

FOLDER = Path(__file__).parent / "golden"
OVERRIDES, AS_OF = "set", "as_of"
"""The keys of a case that are not options of its question."""
SETTING = Setting(samples=20)


def kept(question: str) -> dict[str, Any]:
    """The kept cases and answers of one question."""
    found: dict[str, Any] = json.loads((FOLDER / f"{question}.json").read_text("utf-8"))
    return found


def answered(question: str, case: dict[str, Any], *, whole: bool) -> Any:
    """What is kept of the answer to one case, as JSON gives it back; a refusal is kept as its sentence."""
    options = {name: value for name, value in case.items() if name not in (OVERRIDES, AS_OF)}
    setting = Setting(samples=SETTING.samples, as_of=case.get(AS_OF, ""))
    ask = Ask(
        question, REQUESTS[question](**options), setting, None, tuple(case.get(OVERRIDES, ()))
    )
    try:
        data = ask.data()
    except CannotPlan as mistake:
        return {"refused": str(mistake)}
    rows = data["quantities"]
    found = {
        "verdict": data["verdict"],
        "notices": data["notices"],
        "answers": data["answers"],
        "quantities": {name: [row["value"], row["low"], row["high"]] for name, row in rows.items()},
        "tables": [_short(table["rows"], rows) for table in data["tables"]],
    }
    if whole:
        found["texts"] = {name: _texts(row) for name, row in rows.items()}
        found["heads"] = [
            {k: v for k, v in table.items() if k != "rows"} for table in data["tables"]
        ]
        alike = ("title", "matters", "charts", "remarks", "disagreements", "request")
        found |= {name: data[name] for name in alike}
    return json.loads(json.dumps(_rounded(found)))


def differences(was: Any, now: Any, at: str = "") -> list[str]:
    """Where two kept answers differ, each place with both."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = list(dict.fromkeys([*was, *now]))
        return [line for k in keys for line in differences(was.get(k), now.get(k), f"{at}/{k}")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        pairs = enumerate(zip(was, now, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{at}/{i}")]
    return [] if was == now else [f"{at}: was {was!r}, is {now!r}"]


def keep(question: str, cases: list[dict[str, Any]], only: str = "") -> None:
    """Write the answers of today's code; of `only` a part of each, the rest as it was kept."""
    answers = [answered(question, case, whole=not place) for place, case in enumerate(cases)]
    if only:
        pairs = zip(kept(question)["answers"], answers, strict=True)
        answers = [was | ({only: now[only]} if only in now else {}) for was, now in pairs]
    lines = ",\n".join(
        json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in answers
    )
    text = f'{{"cases":{json.dumps(cases, ensure_ascii=False)},\n"answers":[\n{lines}\n]}}\n'
    (FOLDER / f"{question}.json").write_text(text, "utf-8")


def _texts(row: dict[str, Any]) -> list[Any]:
    """Unit, words, and the formula with what it is of, or the grade and source of a stated figure."""
    origin = (
        [row["formula"], row["from"]]
        if row["kind"] == "derived" and "formula" in row
        else [row["kind"], row["source"]["key"]]
    )
    return [row["unit"], row["about"], *origin]


def _short(rows: Any, known: dict[str, Any]) -> Any:
    """A table's cells: the name alone where the quantity of that name says the same."""

    def cell(found: Any) -> Any:
        if isinstance(found, str):
            return found
        name = found["name"]
        same = name in known and all(
            known[name][key] == found[key] for key in found if key != "name"
        )
        return f"={name}" if same else list(found.values())

    return [[cell(found) for found in row] for row in rows]


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _rounded(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_rounded(value) for value in found]
    return float(f"{found:.9g}") if isinstance(found, float) else found


if __name__ == "__main__":
    words = sys.argv[1:]
    part = words.pop(words.index("--only") + 1) if "--only" in words else ""
    for asked in words:
        if asked != "--only":
            keep(asked, kept(asked)["cases"], part)
