"""The other trainer's arm: TRL's GRPOTrainer on our recipe, run by the Python of its own environment.

`python -m archipel.bench.peers_trl JOB.json`. Prompts, their order and the reward are ours, imported
from this source tree, and so are the learning rates; sampling, loss, optimiser and loop are TRL's.
Every setting that has a counterpart in the recipe is set to it, and what only costs time (logging, saving, evaluation,
recomputed activations, casts) is turned off.
Where TRL differs and cannot be told otherwise: tokens of groups without advantage go through the
network and stay in the denominator of the mean; weights are fp32 throughout, where ours sample from
and take gradients at bf16 values.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from archipel.bench.peers_job import Diary, Job, Result, read_job, write_result
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import Environment, Task
from archipel.training.schedule import learning_rate

SPLIT = "train"
"""As in `training.groups`, which imports more than this environment holds."""
PLAIN, STATIC, EAGER, CONTINUOUS = "dynamic", "static", "eager", "continuous"
VARIANTS = (PLAIN, STATIC, EAGER, CONTINUOUS)
"""How TRL may sample: `generate` with its growing cache, with a static cache, with attention written
out, or transformers' continuous batching (28 times slower than `generate` here, when last measured)."""


class Unlike(ValueError):
    """The recipe has no counterpart in the other trainer's settings."""


def train(job: Job) -> Result:
    """Run the job."""
    began = time.perf_counter()
    import torch
    import transformers
    import trl

    torch.set_num_threads(job.threads)
    imported_s = time.perf_counter() - began
    transformers.utils.logging.set_verbosity_error()
    recipe = recipe_from_canonical(job.recipe.encode())
    environment = make_environment(recipe.environment, recipe.run.seed, bytes.fromhex(job.secret))
    tasks = training_tasks(recipe, environment, job.updates)
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.start)
    # The prompts say it themselves, whether or not the trainer lets the tokenizer add it.
    setattr(tokenizer, "add_bos_token", False)  # noqa: B010 - its base class declares it read-only
    model = transformers.AutoModelForCausalLM.from_pretrained(
        job.start,
        dtype=torch.float32,
        attn_implementation="eager" if job.variant == EAGER else "sdpa",
    )
    diary = Diary()
    trainer = _trainer_class(recipe)(
        model=model,
        reward_funcs=make_reward(environment, tasks, tokenizer.eos_token_id, diary),
        args=trl.GRPOConfig(**settings(recipe, job)),
        train_dataset=_dataset(tasks, tokenizer.bos_token),
        processing_class=tokenizer,
        callbacks=[_timekeeper(job, diary)],
    )
    trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
    constructed_s = time.perf_counter() - began - imported_s
    trainer.train()
    return Result(
        software=f"trl {trl.__version__}, transformers {transformers.__version__}, "
        f"torch {torch.__version__}",
        import_s=imported_s,
        construct_s=constructed_s,
        points=tuple(diary.points),
        rewards=tuple(diary.rewards),
    )


def training_tasks(recipe: Recipe, environment: Environment, updates: int) -> list[Task]:
    """The tasks of groups 0, 1, ... in order: those every other arm sees."""
    num_groups = updates * recipe.run.groups_per_update
    return [environment.task(SPLIT, index) for index in range(num_groups)]


def comparable(recipe: Recipe) -> Recipe:
    """The recipe with the clipped loss, the one that both trainers have; every arm runs this one.

    Raises:
        Unlike: it asks for something else that TRL's trainer has no counterpart of.
    """
    unlike = {
        'algorithm.name = "grpo"': recipe.algorithm.name != "grpo",
        "optimiser.minibatches = 1": recipe.optimiser.minibatches != 1,
    }
    if needed := [setting for setting, is_unlike in unlike.items() if is_unlike]:
        raise Unlike(f"no like comparison with TRL; the recipe needs {', '.join(needed)}")
    loss = recipe.loss.model_copy(update={"name": "ppo_clip"})
    return recipe.model_copy(update={"loss": loss})


def settings(recipe: Recipe, job: Job) -> dict[str, Any]:
    """The recipe in the names of GRPOConfig."""
    optimiser, sampling = recipe.optimiser, recipe.sampling
    return {
        "output_dir": str(Path(job.out) / "trainer"),
        "seed": recipe.run.seed,
        "max_steps": job.updates,
        "per_device_train_batch_size": recipe.run.groups_per_update * recipe.run.group_size,
        "num_generations": recipe.run.group_size,
        "shuffle_dataset": False,
        "max_completion_length": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "cache_implementation": "static" if job.variant == STATIC else None,
        "use_transformers_continuous_batching": job.variant == CONTINUOUS,
        "beta": 0.0,
        "loss_type": "bnpo",  # the token mean over the whole batch, as ours
        "epsilon": recipe.loss.clip_low,
        "epsilon_high": recipe.loss.clip_high,
        "scale_rewards": "group" if recipe.algorithm.scale_by_std else "none",
        "learning_rate": optimiser.learning_rate,
        "optim": "adamw_torch_fused",
        "adam_beta1": optimiser.beta1,
        "adam_beta2": optimiser.beta2,
        "adam_epsilon": optimiser.epsilon,
        "weight_decay": optimiser.weight_decay,
        "max_grad_norm": optimiser.clip_norm,
    } | _THRIFT


_THRIFT: dict[str, Any] = {
    "use_cpu": True,
    "gradient_checkpointing": False,
    "bf16": False,
    "logging_strategy": "no",
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
}


def make_reward(
    environment: Environment, tasks: Sequence[Task], end_id: int, diary: Diary
) -> Callable[..., list[float]]:
    """TRL's reward function: the environment's own grade of each completion."""

    def reward(
        completions: list[str], completion_ids: list[list[int]], index: list[int], **_: Any
    ) -> list[float]:
        rewards = [
            environment.grade(tasks[which], completion, ids[-1] == end_id)
            for completion, ids, which in zip(completions, completion_ids, index, strict=True)
        ]
        diary.rewards.append(sum(rewards) / len(rewards))
        return rewards

    return reward


def _trainer_class(recipe: Recipe) -> Any:
    """GRPOTrainer with the recipe's learning rates, step for step."""
    import torch
    import trl

    section = recipe.optimiser

    class Scheduled(trl.GRPOTrainer):  # type: ignore[misc]  # not installed where types are checked
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer,
                lambda step: (
                    learning_rate(section, step, num_training_steps) / section.learning_rate
                ),
            )
            return self.lr_scheduler

    return Scheduled


def _dataset(tasks: Sequence[Task], begin: str | None) -> Any:
    import datasets

    prompts = [(begin or "") + task.prompt for task in tasks]
    return datasets.Dataset.from_dict({"prompt": prompts, "index": list(range(len(tasks)))})


def _timekeeper(job: Job, diary: Diary) -> Any:
    """A callback that keeps the diary."""
    import transformers
    from safetensors.torch import save_file

    def keep(model: Any, update: int) -> None:
        weights = {name: value.detach().clone() for name, value in model.named_parameters()}
        save_file(weights, job.snapshot(update))

    class Timekeeper(transformers.TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            diary.begin()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            update = state.global_step
            due = job.snapshot_every and update % job.snapshot_every == 0
            diary.updated(update, partial(keep, kwargs["model"], update) if due else None)

    return Timekeeper()


if __name__ == "__main__":
    job = read_job(Path(sys.argv[1]))
    write_result(job, train(job))
