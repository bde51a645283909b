"""What `archipel plan` alone prints: every question once, with its defaults, on one screen."""

from archipel.planning.answering import Setting, headline
from archipel.planning.asking import Ask
from archipel.planning.requests import REQUESTS
from archipel.planning.wording import answer_rows, lined_up, wrapped

ANSWERS_EACH = 2
WIDTH = 96

ASKED = {
    "train": "What does a budget train?",
    "decentralise": "And bought from a market of independent providers?",
    "lab": "What does a lab of ten thousand accelerators cost?",
    "serve": "What does answering cost on one's own computer?",
    "meek": "Does the frontier's lead last?",
    "claims": "And what is said in public about all this?",
}


def one_screen() -> str:
    """A screen of text: the questions, two answers each with their intervals, and how to go on."""
    rows: list[tuple[str, str, str]] = []
    titles: dict[int, str] = {}
    verdicts: dict[int, str] = {}
    for question, asked in ASKED.items():
        plan = Ask(question, REQUESTS[question]()).plan()
        found = headline(plan, Setting(), ANSWERS_EACH)
        titles[len(rows)] = f"{asked}  archipel plan {question}"
        rows += [row[:3] for row in answer_rows(found)]
        verdicts[len(rows) - 1] = found["verdict"]
    lines = [
        "Six questions before anything is paid for; every number has a source and a 90% interval."
    ]
    for index, line in enumerate(lined_up(("", "", ""), rows)):
        lines += ["", titles[index]] if index in titles else []
        lines.append(f"  {line}")
        lines += wrapped(verdicts.get(index, ""), WIDTH, "  → ", "    ")
    return "\n".join([*lines, "", *_how_to_go_on()])


def _how_to_go_on() -> list[str]:
    return [
        "archipel plan train --budget '50k USD' --plot train.png    a picture",
        "archipel plan lab --explain lab.cost_per_hour              where a number comes from",
        "archipel plan report --out report.html                     all of it on one page",
    ]
