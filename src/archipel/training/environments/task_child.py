"""The process that makes tasks: `python -m archipel.training.environments.task_child`, see `apart`.

It speaks JSON lines over standard input, which is a socket. First comes the setup {section, seed}; the answer
is {"floor", "tools"} or {"detail", "blames_recipe"}. Then each line [method, arguments...] is answered by {"value"} or
the same fault.
Law: it is started with a fixed environment, so that what it makes depends on nothing but its setup.
"""

import contextlib
import json
import os
import resource
import socket
from typing import Any

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.environment import make_environment
from archipel.training.environments.episodic import Episodic, Turn
from archipel.training.environments.task import Environment, InvalidEnvironment

MAX_CHILD_BYTES = 4 * 2**30
"""Memory of the process: a runaway generator gets a MemoryError instead of the machine's last page."""
MAX_DETAIL_CHARS = 2000


def serve() -> None:
    """Answer until the other side closes."""
    line = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # a generator that reads or prints must not disturb the conversation
    os.dup2(nothing, 1)
    _bound_memory()
    requests = line.makefile("rb")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        environment: Environment | None = None
        reply: dict[str, Any]
        for request in requests:
            try:
                if environment is None:
                    setup = json.loads(request)
                    section = EnvironmentSection.model_validate(setup["section"])
                    environment = make_environment(section, setup["seed"], None)
                    reply = _introduced(environment)
                else:
                    reply = {"value": _answer(environment, *json.loads(request))}
            except Exception as error:  # noqa: BLE001  (whatever it is, the other side must hear of it)
                reply = _fault(error)
            line.sendall(json.dumps(reply, default=str).encode() + b"\n")


def _introduced(environment: Environment) -> dict[str, Any]:
    tools = None
    if isinstance(environment, Episodic):
        tools = [[each.name, each.description, dict(each.parameters)] for each in environment.tools]
    return {"floor": environment.supervised_floor, "tools": tools}


def _answer(environment: Environment, method: str, *arguments: Any) -> Any:
    if method == "supervised":
        return environment.supervised(*arguments)
    if isinstance(environment, Episodic) and method == "demonstration":
        shown = environment.demonstration(*arguments)
        return None if shown is None else [each for each in shown[1] if isinstance(each, str)]
    split, index, *judged = arguments
    task = environment.task(split, index)
    if isinstance(environment, Episodic) and method in ("reply", "reward"):
        turns = [Turn.from_json(each) for each in judged[0]]
        if method == "reply":
            return environment.reply(task, turns)
        return environment.reward(task, turns, *judged[1:])
    if method == "grade":
        return environment.grade(task, *judged)
    return [task.prompt, dict(task.detail)]


def _fault(error: Exception) -> dict[str, Any]:
    blames_recipe = isinstance(error, InvalidEnvironment)
    said = str(error) if blames_recipe else f"{type(error).__name__}: {error}"
    return {"detail": said[:MAX_DETAIL_CHARS], "blames_recipe": blames_recipe}


def _bound_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MAX_CHILD_BYTES if hard == resource.RLIM_INFINITY else min(hard, MAX_CHILD_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    serve()
