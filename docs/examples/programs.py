"""Write a Python program: the reward is the share of its tests that pass.

A program runs in a process that holds no task and no answer, without network, files or a second process; what it
prints is compared here.
"""

import re

TASKS = {
    "prints the sum of two integers given on one line": [
        ("1 2", "3"),
        ("10 -4", "6"),
        ("0 0", "0"),
    ],
    "prints the larger of two integers given on one line": [
        ("1 2", "2"),
        ("9 -4", "9"),
        ("5 5", "5"),
    ],
    "prints its input line backwards": [("abc", "cba"), ("x", "x"), ("a b", "b a")],
    "prints how many words its input line has": [
        ("a b c", "3"),
        ("one", "1"),
        ("to be or not", "4"),
    ],
}
FENCED = re.compile(r"```(?:python)?\n(.*?)```", re.DOTALL)


def tasks():
    for what, tests in TASKS.items():
        for form in (
            "Write a Python program that {}.",
            "A Python program that {}:",
            "In Python: a program that {}.",
            "Give only code. A program that {}.",
            "Task: a program that {}.",
            "Code that {}, in Python:",
            "I need a script that {}.",
            "Please write a script that {}.",
            "{}. Python, please.",
        ):
            yield {"prompt": form.format(what), "tests": tests}


def asks(task, completion):
    fenced = FENCED.search(completion)
    source = fenced[1] if fenced else completion
    return [{"program": source, "input": given} for given, _ in task["tests"]]


def passed(task, completion, outputs):
    right = [said.strip() == wanted for said, (_, wanted) in zip(outputs, task["tests"])]
    return sum(right) / len(right)


REWARDS = {"passed": passed}
