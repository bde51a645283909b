"""An environment that runs whatever a completion says, as the worst graders do; for the grader's tests."""

import ctypes  # noqa: F401  (so that no cell imports what a completion will)
import json  # noqa: F401
import resource  # noqa: F401
import socket  # noqa: F401
import threading  # noqa: F401
from typing import Any

import archipel.training.environments.task as contract

WORTH = 0.25


class Hostile:
    """`honest` is worth WORTH; any other completion is run and says in `reward` what it achieved."""

    supervised_floor = None
    worth = WORTH

    def __init__(self) -> None:
        self.seen: list[str] = []

    def task(self, split: str, index: int) -> contract.Task:
        return contract.Task(index=index, split=split, prompt=f"{split} {index}")

    def supervised(self, index: int) -> None:
        return None

    def grade(self, task: contract.Task, completion: str, finished: bool) -> float:
        if completion == "0":
            return 0.0  # what the grading process itself tries
        self.seen.append(completion)
        if completion == "honest":
            return self.worth + len(self.seen) - 1  # it must be the first that this state meets
        names: dict[str, Any] = {"environment": self, "reward": 0.0}
        exec(completion, names)
        return float(names["reward"])


def make(section: Any, seed: int, secret: bytes | None) -> Hostile:
    return Hostile()
