"""TRL's update, timed: `python -m archipel.bench.train_trl JOB.json`, by the Python of an environment that has it.

GRPOTrainer as it is, but for the step that samples and grades, which hands out the rollouts of this benchmark; settings
that have a counterpart in the recipe are set to it, and what only costs time is turned off. Where it differs and cannot
be told otherwise: every micro-batch has as many rollouts, padded to the longest of the batch.
"""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archipel.bench.train_job import (
    Outcome,
    TrainJob,
    Watch,
    groups_of,
    read_job,
    recipe_of,
    write_outcome,
)
from archipel.bench.train_plain import Sample, samples_of, stock_model
from archipel.records.recipe import Recipe

END, PAD = "<end>", "<pad>"


def train(job: TrainJob) -> Outcome:
    """Run the job."""
    import transformers
    import trl

    torch.set_num_threads(job.threads)
    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    watch, recipe = Watch(job.device), recipe_of(job)
    batches = [samples_of(groups_of(job, update)) for update in range(job.updates)]
    losses: list[Tensor] = []
    trainer = _trainer_class(batches, losses)(
        model=stock_model(job),
        reward_funcs=_nothing,
        args=trl.GRPOConfig(**settings(recipe, job)),
        train_dataset=_dataset(job),
        processing_class=_tokenizer(),
        callbacks=[_timekeeper(watch)],
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    trainer.train()
    return Outcome(
        software=f"trl {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}",
        seconds=tuple(watch.seconds),
        cpu_s=tuple(watch.cpu_s),
        tokens=tuple(sum(len(each.rollout.tokens) for each in batch) for batch in batches),
        losses=tuple(float(loss) for loss in losses),
        grad_norms=(),
        peak_bytes=watch.peak_bytes(),
    )


def settings(recipe: Recipe, job: TrainJob) -> dict[str, Any]:
    """The recipe in the names of GRPOConfig."""
    longest = max(each.length for each in samples_of(groups_of(job, 0)))
    rollouts, section = job.groups * job.group_size, recipe.optimiser
    at_once = _at_once(rollouts, max(1, job.micro_batch_tokens // longest))
    return {
        "output_dir": str(Path(job.out) / "trainer"),
        "seed": job.seed,
        "max_steps": job.updates,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": rollouts // at_once,
        "num_generations": job.group_size,
        "max_completion_length": recipe.sampling.max_new_tokens,
        "beta": 0.0,
        "loss_type": "dapo",  # the token mean over the whole batch, as ours
        "epsilon": recipe.loss.clip_low,
        "epsilon_high": recipe.loss.clip_high,
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "adam_beta1": section.beta1,
        "adam_beta2": section.beta2,
        "adam_epsilon": section.epsilon,
        "weight_decay": section.weight_decay,
        "max_grad_norm": section.clip_norm,
        "use_cpu": torch.device(job.device).type == "cpu",
        "bf16": job.dtype == "bfloat16",
        "gradient_checkpointing": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def _at_once(rollouts: int, most: int) -> int:
    """Rollouts of a micro-batch: as many as fit, and a divisor of all."""
    return max(count for count in range(1, most + 1) if rollouts % count == 0)


def _trainer_class(batches: Sequence[Sequence[Sample]], losses: list[Tensor]) -> Any:
    """GRPOTrainer that is handed its rollouts; the loss of each update goes to `losses`."""
    import trl

    class Handed(trl.GRPOTrainer):  # type: ignore[misc]  # not installed where types are checked
        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Tensor]:
            losses.append(torch.zeros((), device=self.accelerator.device))
            return _as_generated(batches[len(losses) - 1], self.accelerator.device)

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            loss = super().training_step(model, inputs, num_items_in_batch)
            losses[-1] += loss.detach()
            return loss

    return Handed


def _as_generated(samples: Sequence[Sample], device: torch.device) -> dict[str, Tensor]:
    """What that step gives."""
    most = max(len(each.rollout.tokens) for each in samples)

    def padded(rows: Sequence[Sequence[float]], kind: torch.dtype) -> Tensor:
        filled = [[*row, *[0] * (most - len(row))] for row in rows]
        return torch.tensor(filled, dtype=kind, device=device)

    prompts = torch.tensor([each.prompt for each in samples], device=device)
    mask = padded([[1] * len(each.rollout.tokens) for each in samples], torch.int64)
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": padded([each.rollout.tokens for each in samples], torch.int64),
        "completion_mask": mask,
        "old_per_token_logps": padded([each.rollout.logprobs for each in samples], torch.float32),
        "advantages": torch.tensor([each.advantage for each in samples], device=device),
        "num_items_in_batch": mask.sum(),
    }


def _nothing(completions: list[str], **_: Any) -> list[float]:
    return [0.0] * len(completions)


def _dataset(job: TrainJob) -> Any:
    import datasets

    return datasets.Dataset.from_dict({"prompt": [END] * (job.updates * job.groups)})


def _tokenizer() -> Any:
    """It asks for one, and never uses it."""
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    backend = Tokenizer(WordLevel({END: 0, PAD: 1}, unk_token=END))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END, pad_token=PAD
    )


def _timekeeper(watch: Watch) -> Any:
    import transformers

    class Timekeeper(transformers.TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.begin()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            watch.end()

    return Timekeeper()


if __name__ == "__main__":
    job = read_job(Path(sys.argv[1]))
    write_outcome(job, train(job))
