"""The grading process: `python -m archipel.training.grading_child`, started by `Grader`.

It speaks JSON lines over its standard streams. First comes the setup {factory, section, seed,
secret}; the answer is {"ready"} or {"detail"}. Then each line [split, index, completion, finished]
is answered, before the next is read, by {"reward"} or {"fault", "detail"}.
Law: it loads no tensor library, and holds nothing of its parent but what came down the pipe.
"""

import functools
import importlib
import json
import os
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

from archipel.records.recipe import EnvironmentSection

MAX_CHILD_BYTES = 4 * 2**30
"""Memory of the process: a runaway grading gets a MemoryError instead of the machine's last page."""
MAX_CACHED_TASKS = 4096


def serve() -> None:
    """The child: read the setup, then one request a line; answer each before the next."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # an environment that reads or prints must not disturb the conversation
    os.dup2(nothing, 1)
    _bound_memory()
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        environment = _make_environment(json.loads(requests.readline()))
    except Exception as error:  # noqa: BLE001  (whatever it is, the parent must hear of it)
        os.write(replies, json_line({"detail": _describe(error)}))
        return
    task = functools.lru_cache(MAX_CACHED_TASKS)(environment.task)
    os.write(replies, json_line({"ready": True}))
    for line in requests:
        split, index, completion, finished = json.loads(line)
        try:
            if completion is None:
                reply: dict[str, Any] = {"fault": "oversized", "detail": "completion too long"}
            else:
                reward = environment.grade(task(split, index), completion, finished)
                reply = {"reward": float(reward)}
        except Exception as error:  # noqa: BLE001  (a grader's fault is one reward of 0)
            reply = {"fault": "exception", "detail": _describe(error)}
        os.write(replies, json_line(reply))


def _make_environment(setup: dict[str, Any]) -> Any:
    module, _, name = setup["factory"].partition(":")
    make: Callable[..., Any] = getattr(importlib.import_module(module), name)
    secret = None if setup["secret"] is None else bytes.fromhex(setup["secret"])
    return make(EnvironmentSection.model_validate(setup["section"]), setup["seed"], secret)


def _bound_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MAX_CHILD_BYTES if hard == resource.RLIM_INFINITY else min(hard, MAX_CHILD_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _die_with_parent(parent: int) -> None:
    # A grading that hangs never sees the end of its input; an orphan would spin for ever.
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def json_line(value: Any) -> bytes:
    """One message of the conversation."""
    return json.dumps(value).encode() + b"\n"


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


if __name__ == "__main__":
    serve()
