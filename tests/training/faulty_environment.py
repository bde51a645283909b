"""An environment that does to its grader whatever the completion says; for the grader's tests."""

import os
import sys
import time
from pathlib import Path

import archipel.training.environments.task as contract


class Faulty:
    """Every task is called `n`; the completion names the deed."""

    supervised_floor = None

    def __init__(self, parameters, secret):
        self.parameters, self.secret = parameters, secret

    def task(self, split, index):
        return contract.Task(index=index, split=split, prompt=f"{split} {index}")

    def supervised(self, index):
        return None

    def grade(self, task, completion, finished):
        deeds = {
            "right": lambda: 1.0,
            "half": lambda: 0.5,
            "hang": lambda: time.sleep(600),
            "nap": lambda: 0.75 + 0.0 * bool(time.sleep(0.15)),
            "crash": lambda: os.kill(os.getpid(), 9),
            "leave": lambda: sys.exit(0),
            "raise": lambda: 1 / 0,
            "nan": lambda: float("nan"),
            "infinite": lambda: float("inf"),
            "below": lambda: -0.1,
            "above": lambda: 1.1,
            "nothing": lambda: None,
            "print": lambda: float(bool(print("{}\n" * 10_000)) + 0.25),
            "read": lambda: float(len(sys.stdin.readline())),
            "eat": lambda: float(len(bytearray(64 * 2**30))),
            "place": lambda: float(task.prompt == "dev 7"),
            "secret": lambda: float(self.secret == b"\x00\xff open"),
            "torch": lambda: float("torch" in sys.modules or "numpy" in sys.modules),
            "exposed": lambda: float(_is_exposed(b"\x00\xff open")),
            "environment": lambda: float(b"hunter2" in Path("/proc/self/environ").read_bytes()),
        }
        return deeds[completion]()


def _is_exposed(secret):
    seen = b"".join(Path("/proc/self", name).read_bytes() for name in ("environ", "cmdline"))
    return secret.hex().encode() in seen or secret in seen


def make(section, seed, secret):
    if section.parameters.get("broken"):
        raise ValueError("the data is gone")
    return Faulty(section.parameters, secret)
