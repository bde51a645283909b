"""What `archipel plan` alone prints: every question once, with its defaults, on one screen."""

from archipel.planning.asking import Ask
from archipel.planning.layout import indented, inside, lined_up, wrapped
from archipel.planning.requests import REQUESTS
from archipel.planning.wording import answer_rows

ANSWERS_EACH = 1
WIDTH = 96

ASKED = {
    "train": "What does a budget train?",
    "decentralise": "And bought from a market of independent providers?",
    "lab": "What does a lab of ten thousand accelerators cost?",
    "serve": "What does answering cost on one's own computer?",
    "meek": "Does the frontier's lead last?",
    "claims": "And what is said in public about all this?",
}


def one_screen(width: int | None = None) -> str:
    """A screen of text: the questions, two answers each with their intervals, and how to go on.

    width: of a line.
    """
    room = min(width or WIDTH, WIDTH)
    found = {question: Ask(question, REQUESTS[question]()).data(whole=False) for question in ASKED}
    rows = {
        question: [row[:3] for row in answer_rows(data)[:ANSWERS_EACH]]
        for question, data in found.items()
    }
    widest = [max(len(row[i]) for shown in rows.values() for row in shown) for i in range(3)]
    lines = wrapped(
        "Six questions before anything is paid for; every number has a source and a 90% interval.",
        room,
    )
    for question, asked in ASKED.items():
        lines += ["", *wrapped(f"{asked}  archipel plan {question}", room)]
        level = [
            [cell.ljust(wide) for cell, wide in zip(row, widest, strict=True)]
            for row in rows[question]
        ]
        lines += indented(lined_up(("", "", ""), level, inside(room)))
        lines += wrapped(found[question]["verdict"], room, "  → ", "    ")
    return "\n".join([*lines, "", *_how_to_go_on(width)])


def _how_to_go_on(width: int | None) -> list[str]:
    rows = [
        ("archipel plan train --budget '50k USD' --plot train.png", "a picture"),
        ("archipel plan lab --explain lab.cost_per_hour", "where a number comes from"),
        ("archipel plan report --out report.html", "all of it on one page"),
    ]
    return lined_up(("", ""), rows, width)
