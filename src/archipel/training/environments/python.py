"""Tasks and rewards from a Python file of one's own.

The file defines `tasks(**settings)`, an iterable of dictionaries with a `prompt` and whatever else a reward wants to
know, and one of

    reward(task, completion) -> float           one number from 0 to 1
    REWARDS = {"name": function, ...}           several, each from 0 to 1, put together by WEIGHTS (equal without)

and may define

    METRICS = {"name": function, ...}           numbers to look at, which nobody is rewarded for
    answer(task) -> str                         a worked answer, for the supervised stage
    asks(task, completion) -> [...]             what is needed first: {"judge": question} puts it to the recipe's judge,
                                                {"program": source, "input": text} runs it in a cell of its own; every
                                                function then gets a third argument, the list of replies

and may play several turns (`python_turns`).

Laws: tasks are the same in every process; a reward outside [0, 1] is a fault of the file, never rescaled; an unfinished
completion earns 0 unasked. Naming a file runs it, confined: a recipe is as trusted as its author.
"""

import importlib.util
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from archipel.training.environments.judgement import MAX_PARTS, PART, Ask, Judgement
from archipel.training.environments.parameters import Parameters, Scalar
from archipel.training.environments.task import (
    SPLITS,
    InvalidEnvironment,
    Task,
    check_place,
    split_of,
)

MAX_TASKS = 100_000
"""Tasks read from a file; an endless supply is cut here."""
MAX_FILE_BYTES = 16 * 1024 * 1024
MODULE = "archipel_python_rewards"
"""The name under which the file is imported."""

Judge = Callable[..., Any]


class PythonRewards:
    """One file.

    Parameters: `path` (the file, relative to the recipe's), `judge_url` and `judge_model` (where `asks` finds a judge: the
    address of an OpenAI interface such as `http://127.0.0.1:8000/v1`; its key, if it wants one, is the environment's
    secret), `max_tasks`, and the settings that the file's own `tasks` takes.
    """

    supervised_floor = None

    def __init__(self, values: dict[str, Scalar]) -> None:
        settings = Parameters("python", values)
        path = settings.text("path")
        settings.text("judge_url", "")
        settings.text("judge_model", "")
        limit = settings.integer("max_tasks", MAX_TASKS, low=1, high=MAX_TASKS)
        self.file = _Rewards(_imported(Path(path)), path)
        self._parts: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        for theirs in islice(self.file.tasks(settings.rest()), limit):
            self._parts[split_of(theirs["prompt"])].append(theirs)
        for split, part in self._parts.items():
            if not part:
                raise InvalidEnvironment(
                    f"{path} leaves no task for the {split} part, which a tenth of them belong to by their prompts; "
                    "give more of them, some dozens at least"
                )

    def task(self, split: str, index: int) -> Task:
        """Tasks in the file's own order; the prompt's hash decides the split."""
        check_place(split, index)
        theirs = self._theirs(split, index)
        detail = {key: value for key, value in theirs.items() if key != "prompt"}
        return Task(index=index, split=split, prompt=theirs["prompt"], detail=detail)

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        """The weighted mean of its rewards.

        Raises:
            InvalidEnvironment: something has to be asked first; then only a `Grader` can grade.
        """
        judgement = self.judge(task, completion, finished, None)
        if judgement.reward is None:
            raise InvalidEnvironment("these rewards ask a judge or run programs first")
        return judgement.reward

    def judge(
        self, task: Task, completion: str, finished: bool, replies: tuple[str, ...] | None
    ) -> Judgement:
        """See `Judges.judge`."""
        if not finished:
            return Judgement(0.0)
        theirs = dict(self._theirs(task.split, task.index))
        if self.file.has_asks and replies is None:
            asks = self.file.asks(theirs, completion)
            if asks:
                return Judgement(asks=asks)
            replies = ()
        return self.file.judged(theirs, completion, replies)

    def supervised(self, index: int) -> tuple[str, str] | None:
        """A training prompt and the file's own answer to it, if it gives any."""
        theirs = self._theirs("train", index)
        answer = self.file.answer(dict(theirs))
        return None if answer is None else (theirs["prompt"], answer)

    def given(self, task: Task) -> dict[str, Any]:
        """The file's own dictionary of a task, a copy."""
        return dict(self._theirs(task.split, task.index))

    def defines(self, name: str) -> bool:
        """Whether the file has such a name."""
        return self.own(name) is not None

    def own(self, name: str) -> Any:
        """What the file calls so; None: nothing."""
        return getattr(self.file.module, name, None)

    def _theirs(self, split: str, index: int) -> dict[str, Any]:
        part = self._parts[split]
        return part[index % len(part)]


class _Rewards:
    """What the file defines, looked at once."""

    def __init__(self, module: Any, path: str) -> None:
        self._path, self.module = path, module
        self._tasks = self._function(module, "tasks")
        self._answer = getattr(module, "answer", None)
        self._asks = getattr(module, "asks", None)
        single = getattr(module, "reward", None)
        rewards = getattr(module, "REWARDS", None)
        if (single is None) == (rewards is None):
            raise InvalidEnvironment(
                f"{path} must define reward(task, completion) or REWARDS, one of them"
            )
        self._rewards = self._named("REWARDS", {"reward": single} if rewards is None else rewards)
        self._metrics = self._named("METRICS", getattr(module, "METRICS", {}))
        if not self._rewards or len(self._rewards) + len(self._metrics) > MAX_PARTS:
            raise InvalidEnvironment(
                f"{path}: expected 1 to {MAX_PARTS} rewards and metrics together"
            )
        self._weights = self._shares(getattr(module, "WEIGHTS", {}))
        self._is_named = rewards is not None

    @property
    def has_asks(self) -> bool:
        """Whether rewards need something done first."""
        return self._asks is not None

    def tasks(self, settings: Mapping[str, Scalar]) -> Iterable[dict[str, Any]]:
        """The file's tasks, each looked at as it comes. Raises InvalidEnvironment."""
        try:
            inspect.signature(self._tasks).bind(**settings)
        except TypeError as error:
            raise InvalidEnvironment(
                f"environment.parameters: tasks() of {self._path}: {error}"
            ) from None
        try:
            for number, theirs in enumerate(self._tasks(**settings)):
                yield self._checked(number, theirs)
        except InvalidEnvironment:
            raise
        except Exception as error:  # noqa: BLE001  (others' code)
            raise InvalidEnvironment(
                f"tasks() of {self._path} failed: {type(error).__name__}: {error}"
            ) from None

    def asks(self, task: dict[str, Any], completion: str) -> tuple[Ask, ...]:
        """What has to be done before this completion can be judged."""
        found = []
        for each in self._asks(task, completion) if self._asks else ():
            if set(each) == {"judge"}:
                found.append(Ask("judge", str(each["judge"])))
            elif "program" in each and set(each) <= {"program", "input"}:
                found.append(Ask("program", str(each["program"]), str(each.get("input", ""))))
            else:
                raise ValueError(
                    f"asks gave {each!r:.80}; expected {{'judge': ...}} or {{'program': ..., 'input': ...}}"
                )
        return tuple(found)

    def judged(
        self, task: dict[str, Any], completion: str | list[str], replies: tuple[str, ...] | None
    ) -> Judgement:
        """Every part and metric, and their weighted mean; completion: of several turns, all that was said."""
        given = (
            (task, completion) if self._asks is None else (task, completion, list(replies or ()))
        )
        parts = {name: float(judge(*given)) for name, judge in self._rewards.items()}
        for value in parts.values():
            if not 0.0 <= value <= 1.0:
                return Judgement(value)  # its reader counts it as out of range
        reward = math.fsum(self._weights[name] * value for name, value in parts.items())
        shown = {f"part_{name}": value for name, value in parts.items()} if self._is_named else {}
        shown |= {f"metric_{name}": float(judge(*given)) for name, judge in self._metrics.items()}
        return Judgement(min(reward, 1.0), shown)

    def answer(self, task: dict[str, Any]) -> str | None:
        """The file's own; None where it gives none, to any task or to this one."""
        given = None if self._answer is None else self._answer(task)
        return None if given is None else str(given)

    def turns(self, task: dict[str, Any]) -> list[str] | None:
        """The file's own, where its tasks take several."""
        said = None if self._answer is None else self._answer(task)
        if said is not None and (not isinstance(said, list | tuple) or not said):
            raise InvalidEnvironment(
                f"{self._path}: answer gave {said!r:.60}; expected a list of turns, as the file has reply or TOOLS"
            )
        return None if said is None else [str(each) for each in said]

    def _checked(self, number: int, theirs: Any) -> dict[str, Any]:
        where = f"task {number} of {self._path}"
        if not isinstance(theirs, dict) or not isinstance(theirs.get("prompt"), str):
            raise InvalidEnvironment(
                f"{where} is {theirs!r:.80}; expected a dictionary with a text 'prompt'"
            )
        try:
            json.dumps(theirs, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidEnvironment(
                f"{where}: expected numbers, texts and lists alone: {error}"
            ) from None
        return theirs

    def _function(self, module: Any, name: str) -> Judge:
        found = getattr(module, name, None)
        if not callable(found):
            raise InvalidEnvironment(
                f"{self._path} defines no {name}(); see docs/how-to/reward-in-python.md"
            )
        return found  # type: ignore[no-any-return]

    def _named(self, title: str, functions: Any) -> dict[str, Judge]:
        if not isinstance(functions, dict):
            raise InvalidEnvironment(
                f"{self._path}: {title} is {functions!r:.80}; expected name -> function"
            )
        for name, function in functions.items():
            if not callable(function) or not PART.fullmatch(f"part_{name}"):
                raise InvalidEnvironment(
                    f"{self._path}: {title} has {name!r:.60}; expected lower-case names of functions"
                )
        return functions

    def _shares(self, weights: Any) -> dict[str, float]:
        """Weights that add up to 1."""
        if not isinstance(weights, dict) or (weights and set(weights) != set(self._rewards)):
            raise InvalidEnvironment(
                f"{self._path}: WEIGHTS is {weights!r:.80}; expected one for each of {', '.join(self._rewards)}"
            )
        found = {name: float(weights.get(name, 1.0)) for name in self._rewards}
        if not all(math.isfinite(each) and each > 0 for each in found.values()):
            raise InvalidEnvironment(
                f"{self._path}: WEIGHTS is {weights!r:.80}; expected positive numbers"
            )
        total = math.fsum(found.values())
        return {name: each / total for name, each in found.items()}


def _imported(path: Path) -> Any:
    """The file as a module, its folder's other modules importable. Raises InvalidEnvironment."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InvalidEnvironment(
            f"environment.parameters.path: cannot read {path}: {error.strerror}"
        ) from None
    if path.suffix != ".py" or not path.is_file() or size > MAX_FILE_BYTES:
        raise InvalidEnvironment(f"environment.parameters.path: {path} is no Python file (NAME.py)")
    folder = str(path.absolute().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise InvalidEnvironment(f"environment.parameters.path: {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001  (others' code)
        raise InvalidEnvironment(
            f"{path} does not import: {type(error).__name__}: {error}"
        ) from None
    return module
