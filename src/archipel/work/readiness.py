"""Can this run be done? What a trusted role or a node would only find at work is found here, as sentences.

Parts: `shortcomings`, every check in the order in which its failures would show: recipe and environment, weights
and tokenizer, memory, tasks and prompts that have to fit the model, and whether what samples computes what is trained
(`start_check`). Not found here: rewards that fail, and prompts beyond the ones that were looked at.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from archipel.engine.engine import NonFiniteLogits
from archipel.model.adapter import adapter_shapes
from archipel.model.adapter_files import has_adapter
from archipel.model.backends import read_any_config, read_any_model
from archipel.model.config import DecoderConfig
from archipel.model.directory import InvalidModel, expected_shapes
from archipel.model.manifest import WrongTensors
from archipel.model.tokenizer import InvalidTokenizer, Tokenizer, tokenizer_named
from archipel.model.tool_calls import Tool
from archipel.model.weight_files import stored_kinds, weight_files
from archipel.records.backends import Backend
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.training.environments.apart import TaskProcessLost
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import Environment, InvalidEnvironment, Task
from archipel.training.groups import answer_ids
from archipel.training.wording import never_written
from archipel.work.folders import adapter_over, require_form
from archipel.work.judging import DEV
from archipel.work.kind import WorkFailed
from archipel.work.prompts import LOOKING_LIMIT_S, Prompts
from archipel.work.room import update_shortage
from archipel.work.start_check import Subject, at_start

MAX_EVALUATED_LOOKED_AT = 2048
LABELS_LOOKED_AT = 32


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """The tasks of an evaluation where training's are asked for."""

    environment: Environment

    @property
    def tools(self) -> tuple[Tool, ...]:
        return getattr(self.environment, "tools", ())

    @property
    def supervised_floor(self) -> float | None:
        return None

    def task(self, split: str, index: int) -> Task:
        return self.environment.task(DEV, index)

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        return self.environment.grade(task, completion, finished)

    def supervised(self, index: int) -> tuple[str, str] | None:
        return None


def shortcomings(
    recipe: Recipe,
    weights: Path | None,
    secret: bytes | None,
    limit_s: float = LOOKING_LIMIT_S,
    adapter: Path | None = None,
    learns_here: bool = True,
) -> list[str]:
    """What stands in the way of a run of `recipe` from the directory `weights`; empty if nothing was found.

    weights: None for the recipe's own model, from nothing.
    secret: what the trusted role would grade with; tasks are made without it, too.
    limit_s: so long are prompts looked at, those of training and of evaluations each.
    adapter: what lies over the weights already; None: nothing.
    learns_here: whether this machine's memory has to hold what learns.
    """
    found = [*_weight_faults(weights, recipe.model.backend), *_teacher_faults(recipe, weights)]
    found = found or _adapter_faults(recipe, weights, adapter) or _family_faults(recipe, weights)
    if weights is not None and learns_here and not found:
        short = update_shortage(recipe, read_any_config(weights, recipe.model.backend))
        found = [] if short is None else [short]
    try:
        environment = make_environment(recipe.environment, recipe.run.seed, secret)
    except (InvalidEnvironment, TaskProcessLost) as error:
        return [str(error), *found]
    if found:
        return found
    tokenizer, context = _model(recipe, weights)
    try:
        prompts = Prompts(recipe, environment, tokenizer, context)
        prompts.look_ahead(limit_s)
        held_out = Prompts(recipe, _HeldOut(environment), tokenizer, context)
        if faults := _evaluation_faults(recipe, held_out, limit_s):
            return faults
        if faults := _label_faults(recipe, environment, tokenizer):
            return faults
        if fault := never_written(recipe.sampling.stop, tokenizer):
            return [fault]
        if weights is not None:
            _compare(recipe, weights, [prompts.request(index) for index in prompts.batch(0)])
    except (WorkFailed, InvalidModel, NonFiniteLogits) as error:
        return [str(error)]
    return []


def _compare(recipe: Recipe, weights: Path, first: list[Request]) -> None:
    """Whether nodes would sample what the trainer learns from, on the run's first prompts.

    Raises:
        WorkFailed: they would not, with figures.
    """
    # As version 0 will have it.
    model = read_any_model(weights, recipe.model.backend, torch.bfloat16, under_adapter=True)
    state = {name: weight.detach() for name, weight in model.named_parameters()}
    at_start(Subject(model.config, state), recipe.sampling.contract, first)


def _weight_faults(weights: Path | None, backend: Backend) -> list[str]:
    """Whether the directory is a whole model with a tokenizer, by its files' tables of contents."""
    if weights is None:
        return []
    try:
        config = read_any_config(weights, backend)
        if isinstance(config, DecoderConfig):
            _check_tensors(weights, config)
        else:
            stored_kinds(
                weights
            )  # names in files are the library's business: it is asked when they are read
        Tokenizer.from_directory(weights)
    except (InvalidModel, InvalidTokenizer, OSError) as error:
        return [str(error)]
    return []


def _teacher_faults(recipe: Recipe, weights: Path | None) -> list[str]:
    """Whether the recipe's teacher is a whole model with as many tokens as this one."""
    if recipe.teacher is None:
        return []
    folder = Path(recipe.teacher.path)
    found = [f"teacher.path: {fault}" for fault in _weight_faults(folder, recipe.model.backend)]
    if found or weights is None:
        return found
    theirs, own = (
        read_any_config(each, recipe.model.backend).vocab_size for each in (folder, weights)
    )
    if theirs == own:
        return []
    return [
        f"teacher.path: {folder} has {theirs} tokens, the model {own}; both need one vocabulary"
    ]


def _adapter_faults(recipe: Recipe, weights: Path | None, adapter: Path | None) -> list[str]:
    """Whether what is there, and what is trained, is an adapter or is none."""
    try:
        if weights is not None and adapter != weights and has_adapter(weights):
            raise InvalidModel(
                f"{weights} holds an adapter beside a model; keep them in directories of their own, and name the "
                "adapter's with --adapter"
            )
        if weights is not None and adapter is not None:
            if recipe.adapter is None:
                raise InvalidModel(
                    f"the recipe trains whole weights and {adapter} is an adapter; give the recipe an [adapter], or "
                    "merge it"
                )
            require_form(adapter_over(adapter, weights), adapter, recipe.adapter.form)
    except (InvalidModel, OSError) as error:
        return [str(error)]
    return []


def _family_faults(recipe: Recipe, weights: Path | None) -> list[str]:
    """Whether the network is one that the recipe's adapter and routing are for."""
    if weights is None:
        config = DecoderConfig.from_section(recipe.model, tokenizer_named(recipe.model.tokenizer))
    else:
        known = read_any_config(weights, recipe.model.backend)
        if not isinstance(known, DecoderConfig):
            return []  # such recipes ask for neither
        config = known
    if recipe.sampling.replays_routing and config.experts is None:
        return [
            f"sampling.replays_routing is for mixtures of experts, and {config.family} is none; leave it out"
        ]
    if recipe.adapter is not None:
        try:
            adapter_shapes(config, recipe.adapter.form)
        except WrongTensors as error:
            return [f"adapter.targets: {error}"]
    return []


def _check_tensors(weights: Path, config: DecoderConfig) -> None:
    """Raises InvalidModel: a file is not whole, or a tensor is missing or has another shape."""
    shapes, found = expected_shapes(config), set()
    for file in weight_files(weights):
        for name, shape in _shapes(file):
            found.add(name)
            if name in shapes and shapes[name] != shape:
                raise InvalidModel(f"{file}: {name} has shape {shape}; expected {shapes[name]}")
    if missing := sorted(shapes.keys() - found):
        raise InvalidModel(f"{weights}: {len(missing)} tensors are missing, first {missing[0]}")


def _shapes(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    try:
        with safe_open(file, framework="np") as shard:
            for name in shard.keys():  # noqa: SIM118 - the handle is not iterable
                yield name, tuple(shard.get_slice(name).get_shape())
    except (SafetensorError, OSError) as error:
        raise InvalidModel(f"{file}: not readable as safetensors: {error}") from None


def _model(recipe: Recipe, weights: Path | None) -> tuple[Tokenizer, int]:
    """The tokenizer, and how many tokens of prompt and answer together the model takes."""
    if weights is None:
        return tokenizer_named(recipe.model.tokenizer), recipe.model.max_position_embeddings
    config = read_any_config(weights, recipe.model.backend)
    return Tokenizer.from_directory(weights), config.max_position_embeddings


def _label_faults(recipe: Recipe, environment: Environment, tokenizer: Tokenizer) -> list[str]:
    """Whether the answers that a supervised stage shows could be sampled at all."""
    if recipe.supervised is None or recipe.episode is not None:
        return []
    labels = [environment.supervised(index) for index in range(LABELS_LOOKED_AT)]
    sizes = [len(answer_ids(tokenizer, each[1], recipe.prompt)) for each in labels if each]
    most, longest = recipe.sampling.max_new_tokens, max(sizes, default=0)
    num_long = sum(size > most for size in sizes)
    if num_long <= len(sizes) // 2:
        return []
    return [
        f"{num_long} of {len(sizes)} supervised answers do not fit sampling.max_new_tokens = {most}, and what is cut "
        f"off earns nothing: raise it to {longest}, which the longest of them takes"
    ]


def _evaluation_faults(recipe: Recipe, prompts: Prompts, limit_s: float) -> list[str]:
    end, long = time.monotonic() + limit_s, []
    for index in range(min(recipe.evaluation.num_tasks, MAX_EVALUATED_LOOKED_AT)):
        if time.monotonic() > end:
            break
        try:
            if prompts.is_cut(index):
                long.append(index)
        except WorkFailed as error:
            return [f"evaluation, {DEV} part: {error}"]
    if not long:
        return []
    return [
        f"{len(long)} prompts of evaluations leave no room for an answer, first {DEV} task {long[0]}; lower "
        "sampling.max_new_tokens, or leave such tasks out"
    ]
