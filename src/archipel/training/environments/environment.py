"""Environments by name: from a recipe's section to tasks and rewards.

Laws: a new environment is one file and one line here; those of foreign packages are made apart, so that
their tasks are the same in every process.
"""

import inspect
import sys
from collections.abc import Callable

from archipel.records.recipe import EnvironmentSection
from archipel.training.environments.apart import made_apart
from archipel.training.environments.drawers import Drawers
from archipel.training.environments.guess import Guess
from archipel.training.environments.jsonl import Jsonl
from archipel.training.environments.parameters import Declared, Scalar, declared_by, nearest
from archipel.training.environments.python import PythonRewards
from archipel.training.environments.python_turns import from_file
from archipel.training.environments.reasoning_gym import ReasoningGym
from archipel.training.environments.secret_order import SecretOrder
from archipel.training.environments.task import (
    Environment,
    InvalidEnvironment,
    MissingSecret,
    Task,
)
from archipel.training.environments.verifiers import Verifiers
from archipel.training.environments.verifiers_turns import from_taskset

__all__ = [
    "Environment",
    "InvalidEnvironment",
    "MissingSecret",
    "Task",
    "make_environment",
    "require_gradable",
]

Maker = Callable[[dict[str, Scalar], int, bytes | None], Environment]

_ENVIRONMENTS: dict[str, tuple[type, Maker]] = {
    "secret_order": (SecretOrder, SecretOrder),
    "reasoning_gym": (ReasoningGym, lambda values, seed, secret: ReasoningGym(values, seed)),
    "jsonl": (Jsonl, lambda values, seed, secret: Jsonl(values, seed)),
    "python": (PythonRewards, lambda values, seed, secret: from_file(values)),
    "verifiers": (Verifiers, lambda values, seed, secret: from_taskset(values)),
    "drawers": (Drawers, Drawers),
    "guess": (Guess, Guess),
}
"""Name -> the class, whose text says what its parameters mean, and how one is made."""

_FOREIGN = ("reasoning_gym", "verifiers", "python")
"""Others' code, which may make other tasks under another hash seed, or after another task."""

_SECRETIVE = ("secret_order", "drawers", "guess")
"""Environments that grade by something which only the trusted role knows."""


def require_gradable(section: EnvironmentSection, secret: bytes | None) -> None:
    """Refuse to grade without what grading needs: every reward would be a fault that looks like 0.

    Raises:
        MissingSecret: the environment needs a secret and there is none.
    """
    if section.name in _SECRETIVE and secret is None:
        named = f"secret {section.secret!r}" if section.secret else "its secret"
        raise MissingSecret(
            f"{section.name} cannot grade without {named}; give the file that holds it (--secret-file)"
        )


def make_environment(section: EnvironmentSection, seed: int, secret: bytes | None) -> Environment:
    """Build the environment that a recipe names.

    Args:
        section: the recipe's `[environment]`.
        seed: the run's seed: which task has which number.
        secret: what only the trusted role knows; None where nothing is graded.

    Raises:
        InvalidEnvironment: unknown name or parameter, a value out of bounds, a missing extra.
        TaskProcessLost: the process that would make its tasks does not start.
    """
    known = _ENVIRONMENTS.get(section.name)
    if known is None:
        raise InvalidEnvironment(
            f"environment.name: no environment {section.name!r}; "
            f"{nearest(section.name, _ENVIRONMENTS)}"
        )
    values, (_, make) = dict(section.parameters), known
    if section.name in _FOREIGN:
        return made_apart(section, seed, lambda: make(values, seed, secret))
    return make(values, seed, secret)


def environment_names() -> list[str]:
    """What `environment.name` may be."""
    return sorted(_ENVIRONMENTS)


def parameters_of(name: str) -> tuple[str, list[Declared]]:
    """(what the environment says of itself, the parameters that it reads); it may pass on further ones."""
    kind, make = _ENVIRONMENTS[name]
    texts = (sys.modules[kind.__module__].__doc__, kind.__doc__)
    said = "\n\n".join(inspect.cleandoc(text) for text in texts if text)
    return said, declared_by(lambda values: make(values, 0, None))
