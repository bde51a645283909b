"""The trainer: groups in, a new policy version out. It knows no algorithm, task or text.

`update` reads as the method does: order and check the groups, turn rewards into advantages, leave
out groups that say nothing, and take one optimiser step per minibatch. What differs from the
textbook policy gradient is in `training.losses`; what the weights are is in `training.optimiser`.
Law: an update is a pure function of (state, groups as a set); on one thread of a
processor, and on CUDA, it is so bit for bit on one machine.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from archipel.model.adapter import (
    Adapter,
    adapt,
    base_state,
    set_adapter,
    trained,
)
from archipel.model.backends import AnyDecoder, blank_of
from archipel.model.devices import CPU, in_one_order
from archipel.model.manifest import Over, describe
from archipel.model.network import Decoder
from archipel.records.recipe import Recipe
from archipel.records.requests import Allowed
from archipel.records.samples import samples_of
from archipel.records.seeds import derive_seed
from archipel.training.advantages import advantages_of
from archipel.training.batch import BadGroup, Batch, Group, check_groups, dealt
from archipel.training.checkpoint import (
    BadCheckpoint,
    Checkpoint,
    read_file,
    write_checkpoint,
)
from archipel.training.checkpoint_by_ranks import write_parted
from archipel.training.checkpoint_parts import CheckpointInParts
from archipel.training.gathered import write_gathered
from archipel.training.means import mean_over
from archipel.training.optimiser import AdamSettings, MasterAdamW
from archipel.training.packing import (
    SHARED_ROW_TOKENS,
    Tree,
    count_sampled,
    count_valid,
    plan,
    trees_of,
)
from archipel.training.report import TokenSums, UpdateReport, make_report
from archipel.training.resuming import POLICY, newest, stated, take_up
from archipel.training.routing import fitting
from archipel.training.schedule import learning_rate
from archipel.training.scorer import Scorer, Scoring
from archipel.training.sharding import this_site, whole
from archipel.training.terms import Terms

ReadBase = Callable[[], Decoder]
"""Gives the weights, in fp32, that an adapter's trainer lies over: no checkpoint of one holds them."""


class Trainer:
    """Owns the model from here on: its parameters become what is published (bfloat16 values).

    With `[adapter]` in the recipe the model is what the adapter lies over, and stays as it is.
    """

    def __init__(self, model: AnyDecoder, recipe: Recipe, first: Adapter | None = None) -> None:
        """first: the adapter to begin with; None: one that changes nothing yet, drawn from the run's seed.

        Raises:
            WrongTensors: `first` is not of the recipe's form over this model.
        """
        self.version = 0
        self.recipe = recipe
        self.notes: dict[str, Any] = {}
        """What its owner wants to find again in a checkpoint of this version: integers, texts, lists, objects."""
        self.policy: str | None = None  # state digest of this version, once its owner has said it
        self.over = _adapted(model, recipe, first)
        """Of an adapter."""
        self._site = this_site()
        self._config = model.config
        self._terms = Terms(model, recipe, self._site)
        self._scorer = Scorer(
            model,
            recipe.sampling.temperature,
            self._site,
            Scoring(recipe.sampling.cut, recipe.loss.entropy_bonus > 0, recipe.memory),
        )
        self._optimiser = MasterAdamW(model, AdamSettings.of(recipe.optimiser, recipe.memory))

    @property
    def scorer(self) -> Scorer:
        """What the log-probabilities of an update are computed by."""
        return self._scorer

    def allow(self, allowed: Allowed | None) -> None:
        """Learn from groups in which these tokens alone had a chance; they follow from the recipe and a tokenizer."""
        self._scorer.allowed = allowed
        self._terms.allow(allowed)

    def update(self, groups: Sequence[Group]) -> UpdateReport:
        """Learn from groups given in any order, and advance the version by one.

        A batch of nothing but zero-advantage groups changes no weight and still makes a version.

        Raises:
            BadGroup: a group is unfit; nothing changed.
            Diverged: a gradient is not finite; restore the last checkpoint.
        """
        if self.recipe.sampling.allowed and self._scorer.allowed is None:
            raise BadGroup(
                "the recipe allows some characters alone; say which tokens these are with `allow`"
            )
        ordered = check_groups(groups, self.version, self._config.vocab_size)
        scored = zip(ordered, advantages_of(ordered, self.recipe), strict=True)
        num_kept, kept = 0, []
        for group, advantages in scored:
            num_kept += any(advantages)
            if any(advantages) or self._terms.has_teacher:
                kept.append((fitting(group, self._config), advantages))
        self._terms.begin(self.version, self._scorer.decoder)
        sums = TokenSums()
        parts = dealt(kept, self.recipe.optimiser.minibatches)
        most = sum(len(group.rollouts) for group in ordered) * self.recipe.sampling.max_new_tokens
        self._constant = most / max(1, len(parts))
        for part, minibatch in enumerate(parts):
            trees = [
                tree
                for group, advantages in minibatch
                for tree in trees_of(group, advantages, self._longest_row(group))
            ]
            self._step(trees, part, sums)
        given = self.version, ordered, num_kept, sums, self._site, self._scorer.routing_sums
        report = make_report(*given)
        self.version, self.policy = self.version + 1, None
        return report

    def _longest_row(self, group: Group) -> int:
        if self._scorer.alone:
            return 0
        firsts = [samples_of(group.prompt, each)[0].rollout for each in group.rollouts]
        longest = len(group.prompt) + max(len(each.tokens) for each in firsts) - 1
        return max(longest, SHARED_ROW_TOKENS)

    def _step(self, trees: list[Tree], part: int, sums: TokenSums) -> None:
        """One optimiser step on the mean over all of `trees`, whatever the micro-batches."""
        num_valid = count_valid(trees)
        sums.count(num_valid, count_sampled(trees))
        if num_valid == 0:
            return
        trees, divisor = mean_over(self.recipe.loss.mean_over, trees, self._constant)
        # FSDP2 averages gradients over ranks; the product with the rank count makes that a sum.
        scale = self._site.world / divisor
        budget = self.recipe.optimiser.micro_batch_tokens * self._site.world
        for rows in plan(trees, budget, alone=self._scorer.alone):
            self._accumulate(self._scorer.batch_of(rows), scale, sums)
        minibatches = self.recipe.optimiser.minibatches
        rate = learning_rate(
            self.recipe.optimiser,
            self.version * minibatches + part,
            self.recipe.run.versions * minibatches,
        )
        sums.stepped(self._optimiser.step(rate), rate, divisor)

    def _accumulate(self, batch: Batch, scale: float, sums: TokenSums) -> None:
        with in_one_order(batch.tokens_BT.device):
            predicted = self._scorer.predicted(batch) if self._terms.hears_all else None
            logprobs_N, entropy_N = (
                self._scorer(batch) if predicted is None else self._scorer.scored(predicted, batch)
            )
            loss = self._terms.loss(batch, logprobs_N, entropy_N, predicted)
            total = (loss.values_N * batch.weights_N).sum()
            (total * scale).backward()
        sums.add(batch, logprobs_N.detach(), entropy_N, loss)

    def published_state(self, keeps: Callable[[str], bool] = bool) -> dict[str, Tensor]:
        """The policy: bfloat16 CPU tensors by Hugging Face name, no tied head; of an adapter its own alone, by the names
        of a PEFT file. A collective. keeps: which this process wants; others are gathered for other ranks, and dropped.
        """
        state = {}
        for name, each in trained(self._scorer.decoder).items():
            gathered = whole(each.detach())
            if keeps(name):
                state[name] = gathered.to("cpu", torch.bfloat16, copy=True)
        return state

    def lean_on(self, told: Mapping[str, Tensor]) -> None:
        """Go on from weights that were published as this version, names and shapes as of `published_state`, with moments
        of our own: another machine's rounding does not add up over versions. For one process alone.
        """
        self._optimiser.lean_on(
            [(each, told[name]) for name, each in trained(self._scorer.decoder).items()]
        )

    def frozen(self) -> Iterator[tuple[str, Tensor]]:
        """Under an adapter: what is not trained, tensor by tensor, by Hugging Face name. A collective."""
        for name, parameter in self._scorer.decoder.named_parameters():
            if not parameter.requires_grad:
                yield name, whole(parameter.detach())

    def save(self, directory: Path) -> None:
        """Add a checkpoint that `restore` continues from bit for bit; several processes write their parts of one, each
        its own. A collective.

        It holds the fp32 masters and both moments as they are, 12 bytes a trained parameter or, in 8 bit, 6
        (published weights, the masters' bf16 rounding, are 2, and so is a reference), and the version, the
        optimiser's steps, recipe and model.

        Raises:
            OSError: it could not be written; earlier checkpoints are untouched.
        """
        if self._site.world > 1:
            write_parted(directory, self.version, self._parts(), self._facts(), self._site)
        else:
            self.save_whole(directory)

    def save_whole(self, directory: Path) -> None:
        """The same in one file, which elsewhere `unpack` continues from. A collective.

        Raises:
            OSError: see `save`.
        """
        if self._site.world > 1:
            write_gathered(directory, self.version, self._parts(), self._facts(), self._site)
            return
        state = self._optimiser.state(copy=False) | self._terms.state()
        write_checkpoint(directory, self.version, state, self._facts())

    def _parts(self) -> dict[str, Tensor]:
        return self._optimiser.tensors() | self._terms.parts()

    @classmethod
    def restore(
        cls, directory: Path, read_base: ReadBase | None = None, device: torch.device = CPU
    ) -> Self:
        """Continue, on this device, from the newest checkpoint in `directory` that is whole, however many wrote it.
        A collective.

        Raises:
            NoCheckpoint: none is; the message says what was wrong with each.
            BadCheckpoint: it is whole, and not a trainer's, or of an adapter over other weights.
        """
        return cls._continued(newest(directory, this_site()), read_base, device)

    @classmethod
    def unpack(
        cls, path: Path, read_base: ReadBase | None = None, device: torch.device = CPU
    ) -> Self:
        """Continue from one file of a checkpoint; who wrote it is for the caller to know, as is its `recipe`.

        Raises:
            BadCheckpoint: it is missing, altered, or not a trainer's, or of an adapter over other weights.
        """
        return cls._continued(read_file(path), read_base, device)

    @classmethod
    def _continued(
        cls, saved: Checkpoint | CheckpointInParts, read_base: ReadBase | None, device: torch.device
    ) -> Self:
        if (said := stated(saved)).recipe.adapter is None:
            trainer = cls(blank_of(said.config).to(device), said.recipe)
        elif read_base is None:
            raise BadCheckpoint("it is an adapter's; give the weights that it lies over")
        else:
            trainer = cls(read_base().to(device), said.recipe)
        said.require_over(trainer._base)
        take_up(saved, trainer._optimiser, trainer._terms, said.steps)
        trainer.version, trainer.notes, trainer.policy = said.version, said.notes, said.policy
        return trainer

    @property
    def _base(self) -> str | None:
        return None if self.over is None else self.over.base

    def _facts(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "optimiser_steps": self._optimiser.steps,
            "recipe": self.recipe.canonical_bytes().decode(),
            "model": json.dumps(self._config.to_hf(), sort_keys=True),
            **({"notes": self.notes} if self.notes else {}),
            **({} if self.policy is None else {POLICY: self.policy}),
            **({} if self._base is None else {"base": self._base}),
        }


def _adapted(model: AnyDecoder, recipe: Recipe, first: Adapter | None) -> Over | None:
    """Freeze the model and give it the recipe's adapter, if it has one."""
    if recipe.adapter is None or not isinstance(model, Decoder):
        return None
    form = recipe.adapter.form
    adapt(model, form, derive_seed("adapter", recipe.run.seed))
    if first is not None:
        set_adapter(model, first)
    return Over(describe(base_state(model), 0, None).state, form)
