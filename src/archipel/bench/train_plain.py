"""What one would write without this project: `python -m archipel.bench.train_plain JOB.json`.

The same model through `transformers`, a clipped policy gradient over the sampled tokens, AdamW of torch with fused
steps, fp32 weights, bf16 by `autocast`. Rollouts go through the network with their prompts, as many at a time as the
same bound on padded tokens allows, padded to the longest among them; only sampled places are scored over the vocabulary.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archipel.bench.train_job import (
    Outcome,
    TrainJob,
    Watch,
    config_of,
    groups_of,
    read_job,
    recipe_of,
    write_outcome,
)
from archipel.model.network import random_weights
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group


@dataclass(frozen=True)
class Sample:
    """One rollout with all that its loss takes."""

    prompt: tuple[int, ...]
    rollout: Rollout
    advantage: float

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + len(self.rollout.tokens)


def train(job: TrainJob) -> Outcome:
    """Run the job."""
    import transformers

    torch.set_num_threads(job.threads)
    watch, recipe = Watch(job.device), recipe_of(job)
    loop = _Loop(stock_model(job).to(job.device), recipe, job)
    losses, norms, tokens = [], [], []
    for update in range(job.updates):
        samples = samples_of(groups_of(job, update))
        watch.begin()
        loss, norm = loop.update(samples)
        watch.end()
        losses.append(loss)
        norms.append(norm)
        tokens.append(sum(len(each.rollout.tokens) for each in samples))
    return Outcome(
        software=f"transformers {transformers.__version__}, torch {torch.__version__}",
        seconds=tuple(watch.seconds),
        cpu_s=tuple(watch.cpu_s),
        tokens=tuple(tokens),
        losses=tuple(losses),
        grad_norms=tuple(norms),
        peak_bytes=watch.peak_bytes(),
    )


def stock_model(job: TrainJob) -> Any:
    """`transformers`' own network with the weights that every arm begins with: bf16 values in fp32."""
    import transformers

    config = config_of(job)
    fields = config.to_hf() | {"eos_token_id": None, "pad_token_id": None, "use_cache": False}
    settings = transformers.AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = transformers.AutoModelForCausalLM.from_config(settings, dtype=torch.float32)
    weights = random_weights(config, job.seed).state_dict()
    state = {name: weight.bfloat16().float() for name, weight in weights.items()}
    model.load_state_dict(state, strict=not config.tie_embeddings)
    model.tie_weights()
    return model.train()


def samples_of(groups: Sequence[Group]) -> list[Sample]:
    """Rollouts with the advantage that GRPO gives them, undivided."""
    return [
        Sample(group.prompt, rollout, reward - sum(group.rewards) / len(group.rewards))
        for group in groups
        for rollout, reward in zip(group.rollouts, group.rewards, strict=True)
    ]


class _Loop:
    def __init__(self, model: Any, recipe: Recipe, job: TrainJob) -> None:
        self._model, self._recipe, self._job = model, recipe, job
        section = recipe.optimiser
        self._adam = torch.optim.AdamW(
            model.parameters(),
            lr=section.learning_rate,
            betas=(section.beta1, section.beta2),
            eps=section.epsilon,
            weight_decay=section.weight_decay,
            fused=True,
        )

    def update(self, samples: Sequence[Sample]) -> tuple[float, float]:
        """One step; the loss and the gradient's norm before it."""
        total = sum(len(each.rollout.tokens) for each in samples)
        loss = torch.zeros((), device=self._job.device)
        for part in self._parts(samples):
            part_loss = self._loss(part) / total
            part_loss.backward()
            loss += part_loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(
            self._model.parameters(), self._recipe.optimiser.clip_norm
        )
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return float(loss), float(norm)

    def _parts(self, samples: Sequence[Sample]) -> Iterator[list[Sample]]:
        part: list[Sample] = []
        for sample in samples:
            longest = max(each.length for each in (*part, sample))
            if part and longest * (len(part) + 1) > self._job.micro_batch_tokens:
                yield part
                part = []
            part.append(sample)
        yield part

    def _loss(self, part: Sequence[Sample]) -> Tensor:
        """The sum over the sampled tokens of a few rollouts, whose prompts are of one length."""
        width, prompt = max(each.length for each in part), len(part[0].prompt)
        rows = [[*each.prompt, *each.rollout.tokens] for each in part]
        ids, seen = (
            self._tensor([[*row, *[0] * (width - len(row))] for row in rows]),
            self._tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
        )
        mask = seen[:, prompt:].float()
        old = self._tensor(
            [[*each.rollout.logprobs, *[0.0] * (width - each.length)] for each in part]
        )
        advantages = self._tensor([each.advantage for each in part]).unsqueeze(1)
        with torch.autocast(
            torch.device(self._job.device).type, torch.bfloat16, self._job.dtype == "bfloat16"
        ):
            logits = self._model(
                input_ids=ids, attention_mask=seen, logits_to_keep=width - prompt + 1
            ).logits[:, :-1]
        logprobs = torch.log_softmax(logits.float(), -1)
        chosen = logprobs.gather(2, ids[:, prompt:].unsqueeze(2)).squeeze(2)
        section = self._recipe.loss
        ratio = (chosen - old).exp()
        clipped = ratio.clamp(1.0 - section.clip_low, 1.0 + section.clip_high)
        return -(torch.minimum(ratio * advantages, clipped * advantages) * mask).sum()

    def _tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, device=self._job.device)


if __name__ == "__main__":
    job = read_job(Path(sys.argv[1]))
    write_outcome(job, train(job))
