"""Supervised fine-tuning: the stage that gives reinforcement learning something to reinforce.

Constant learning rate until the smoothed loss shows that the skill has arrived (or a cap), then a
short linear decay. The gate matters more than any constant: where the circuit to be reinforced has
not formed, rewards stay near zero and nothing is learned later.
Laws: the examples of a step are a pure function of its number; loss is on the answer alone; a stage is
continued only from a checkpoint that names it.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from archipel.model.backends import AnyDecoder
from archipel.model.devices import float64_place, in_one_order
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import MemorySection, PromptSection, Recipe, SupervisedSection
from archipel.records.rollouts import Rollout
from archipel.training.branches import branches_of
from archipel.training.checkpoint import has_checkpoint, read_latest, write_checkpoint
from archipel.training.environments.episodic import Episodic
from archipel.training.environments.task import Environment, InvalidEnvironment
from archipel.training.episodes import Conduct
from archipel.training.groups import AS_IN_CHAT, answer_ids, prompt_ids, task_ids
from archipel.training.optimiser import AdamSettings, MasterAdamW
from archipel.training.packing import Tree, count_sampled, plan
from archipel.training.schedule import warmed_up
from archipel.training.scorer import Scorer, Scoring
from archipel.training.sharding import sum_over_ranks, this_site, wait_for_all
from archipel.training.thrift import PLAIN

SMOOTHING = 0.9
"""Weight of the past in the smoothed loss that the gate looks at."""
FINAL_FRACTION = 0.05
"""The decay ends at this share of the learning rate."""

Ids = tuple[int, ...]
Example = tuple[Ids, Ids] | tuple[Ids, Ids, bytes]
"""Token ids of a prompt and of its answer, end token included; of an episode also its mask: 1 for what is learned."""
Examples = Callable[[int], Example]

MAX_UNLABELLED = 256
"""So many tasks in a row without an answer mean that the environment gives none."""
MAX_LEFT_OUT = 1000
"""So many examples in a row that do not fit the model are no accident."""

log = logging.getLogger(__name__)


class AnothersCheckpoint(ValueError):
    """The folder holds what another stage saved; the message names both and the folder."""


@dataclass(frozen=True)
class Stamp:
    """What a checkpoint of a supervised stage belongs to."""

    recipe: str = ""
    """Name of the run."""
    seed: int = 0
    digest: str = ""
    """Of everything that the stage's result follows from: settings, first weights, data."""

    def __str__(self) -> str:
        return f"recipe {self.recipe!r}, seed {self.seed}, {self.digest[:19]}"


@dataclass(frozen=True)
class Progress:
    """Where a supervised stage stands; all of it that is not weights or moments."""

    step: int = 0
    loss: float = 0.0
    """Nats per answer token in the last step."""
    smoothed_loss: float | None = None
    learning_rate: float = 0.0
    grad_norm: float = 0.0
    decay_from: int | None = None
    """First step of the final decay, once it is known."""

    def is_done(self, section: SupervisedSection) -> bool:
        """Whether the decay has run its length."""
        return self.decay_from is not None and self.step >= self.decay_from + section.decay_steps

    def next_rate(self, section: SupervisedSection) -> float:
        """Learning rate of the step to come."""
        rate = warmed_up(section.learning_rate, self.step, section.warmup_steps)
        if self.decay_from is None:
            return rate
        decayed = (self.step + 1 - self.decay_from) / section.decay_steps
        return rate * (1.0 - decayed * (1.0 - FINAL_FRACTION))

    def after(self, loss: float, section: SupervisedSection, floor: float | None) -> "Progress":
        """Count a step; open the decay when the gate is passed or the cap is reached."""
        before = loss if self.smoothed_loss is None else self.smoothed_loss
        smoothed = SMOOTHING * before + (1.0 - SMOOTHING) * loss
        step, decay_from = self.step + 1, self.decay_from
        passed = section.gate is not None and smoothed < section.gate * (floor or 0.0)
        if decay_from is None and (passed or step >= section.steps):
            decay_from = step
        return replace(self, step=step, loss=loss, smoothed_loss=smoothed, decay_from=decay_from)


@dataclass(frozen=True)
class SupervisedStage:
    """Settings, data and places of one supervised stage."""

    section: SupervisedSection
    examples: Examples
    floor: float | None = None
    """Nats per answer token that no model can beat; the gate is a multiple of it."""
    micro_batch_tokens: int = 16_384
    checkpoints: Path | None = None
    stamp: Stamp = Stamp()
    """Written into each checkpoint, and looked for in one that is there."""
    save_every: int = 50
    memory: MemorySection = PLAIN

    def __post_init__(self) -> None:
        if self.section.gate is not None and not self.floor:
            raise ValueError(
                "supervised.gate is set, but the environment states no entropy floor; "
                "remove the gate and rely on supervised.steps"
            )


def supervise(
    model: AnyDecoder,
    stage: SupervisedStage,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Train `model` in place (it ends as bfloat16 values) and say how it went.

    With checkpoints, a stage that was killed continues where it was last saved. Examples longer than the
    model's context are left out.

    Raises:
        InvalidEnvironment: too many examples in a row are left out.
        Diverged: the gradient is not finite.
        NoCheckpoint: there are checkpoints, and none of them is whole.
        AnothersCheckpoint: there is a checkpoint, and it is another stage's.
    """
    stage = replace(stage, examples=fitting(stage.examples, model.config.max_position_embeddings))
    learner = _Learner(model, stage)
    progress = learner.resume()
    size = stage.section.batch_size
    while not progress.is_done(stage.section):
        first = progress.step * size
        examples = [stage.examples(index) for index in range(first, first + size)]
        rate = progress.next_rate(stage.section)
        loss, norm = learner.step(examples, rate)
        progress = progress.after(loss, stage.section, stage.floor)
        progress = replace(progress, learning_rate=rate, grad_norm=norm)
        on_step(progress)
        learner.save(progress)
    return progress


def environment_examples(
    environment: Environment, tokenizer: Tokenizer, form: PromptSection = AS_IN_CHAT
) -> Examples:
    """The environment's supervised data as token ids, in the recipe's form of prompts; a task without an answer is
    passed over for the next that has one.

    Raises:
        ValueError: on a call, if there is no answer to `MAX_UNLABELLED` tasks in a row.
    """

    def example(index: int) -> Example:
        for later in range(index, index + MAX_UNLABELLED):
            if (pair := environment.supervised(later)) is not None:
                return prompt_ids(tokenizer, pair[0], form), answer_ids(tokenizer, pair[1], form)
        found = f"no answer to {MAX_UNLABELLED} tasks in a row, from number {index} on"
        raise ValueError(f"no supervised data: {found}; remove [supervised], or give answers")

    return example


def episode_examples(environment: Episodic, conduct: Conduct, recipe: Recipe) -> Examples:
    """The environment's demonstrations as token ids: what the model says is learned, the answers are read.

    Raises:
        ValueError: on the first call, if the environment has none.
    """
    tokenizer, form = conduct.manner.tokenizer, recipe.prompt

    def example(index: int) -> Example:
        shown = environment.demonstration(index)
        if shown is None:
            raise ValueError("the environment has no supervised data; remove [supervised]")
        task, said = shown
        turns = [answer_ids(tokenizer, conduct.manner.said(each), form) for each in said]
        told = conduct.told(task, turns)
        return task_ids(recipe, environment, tokenizer, task), *told

    return example


def fitting(examples: Examples, max_tokens: int) -> Examples:
    """The same examples, but for those too long for the model: the next that fits takes their place.

    max_tokens: positions of the model; the last token of an answer takes none.

    Raises:
        InvalidEnvironment: on a call, if `MAX_LEFT_OUT` examples in a row do not fit.
    """
    told: set[int] = set()

    def example(index: int) -> Example:
        for later in range(index, index + MAX_LEFT_OUT):
            found = examples(later)
            size = max(tree.num_inputs for tree in _trees(*found))
            if size <= max_tokens:
                return found
            if not told:
                log.warning(
                    "supervised example %d is %d tokens long and the model's context %d: it is left "
                    "out, and so is every other that does not fit", later, size, max_tokens
                )  # fmt: skip
            told.add(later)
        raise InvalidEnvironment(
            f"{MAX_LEFT_OUT} supervised examples in a row, from number {index} on, are longer than the "
            f"model's context of {max_tokens} tokens; give it shorter ones or a longer context"
        )

    return example


class _Learner:
    """The weights' side of the loop."""

    def __init__(self, model: AnyDecoder, stage: SupervisedStage) -> None:
        self._stage = stage
        self._site = this_site()
        self._scorer = Scorer(model, 1.0, self._site, Scoring(memory=stage.memory))
        self._optimiser = MasterAdamW(model, AdamSettings.of(stage.section, stage.memory))

    def step(self, examples: list[Example], rate: float) -> tuple[float, float]:
        """One optimiser step; returns (nats per answer token, gradient norm before clipping)."""
        trees = [tree for example in examples for tree in _trees(*example)]
        num_tokens = count_sampled(trees)
        loss = 0.0
        budget = self._stage.micro_batch_tokens * self._site.world
        for rows in plan(trees, budget, alone=self._scorer.alone):
            batch = self._scorer.batch_of(rows)
            with in_one_order(batch.tokens_BT.device):
                total = -(self._scorer(batch)[0] * batch.weights_N).sum()
                (total * (self._site.world / num_tokens)).backward()
            told = total.detach().to(float64_place(total.device)).double()
            loss += float(sum_over_ranks(told, self._site)) / num_tokens
        return loss, self._optimiser.step(rate)

    def resume(self) -> Progress:
        """Take up the newest checkpoint, if there is one."""
        directory = self._stage.checkpoints
        if directory is None or not has_checkpoint(directory):
            return Progress()
        checkpoint = read_latest(directory)
        facts, mine = checkpoint.facts, asdict(self._stage.stamp)
        if facts.get("stamp") != mine:
            raise AnothersCheckpoint(_difference(directory, facts, self._stage.stamp))
        self._optimiser.load(checkpoint.tensors, facts["step"])
        return Progress(
            step=facts["step"],
            smoothed_loss=float.fromhex(facts["smoothed_loss"]),
            decay_from=facts["decay_from"],
        )

    def save(self, progress: Progress) -> None:
        """Write a checkpoint every `save_every` steps and at the end."""
        stage = self._stage
        due = progress.step % stage.save_every == 0 or progress.is_done(stage.section)
        if stage.checkpoints is None or not due or progress.smoothed_loss is None:
            return
        state = self._optimiser.state()
        if self._site.is_first:
            facts = {
                "step": progress.step,
                "smoothed_loss": progress.smoothed_loss.hex(),
                "decay_from": progress.decay_from,
                "stamp": asdict(stage.stamp),
            }
            write_checkpoint(stage.checkpoints, progress.step, state, facts)
        wait_for_all(self._site)


def _trees(prompt: Ids, answer: Ids, learned: bytes | None = None) -> list[Tree]:
    shown = Rollout(answer, (0.0,) * len(answer), True, learned)
    return [Tree(own, (branch,)) for own, branch in branches_of(prompt, shown, 0.0)]


def _difference(directory: Path, facts: Mapping[str, Any], mine: Stamp) -> str:
    theirs = facts.get("stamp")
    whose = str(Stamp(**theirs)) if isinstance(theirs, dict) else "an unnamed recipe"
    return (
        f"{directory} holds step {facts.get('step')} of another supervised stage ({whose}; this one is "
        f"{mine}): recipe, seed, data or first weights differ; remove that folder or name another output"
    )
