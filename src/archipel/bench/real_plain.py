"""What one would write without this project: `python -m archipel.bench.real_plain JOB.json`.

A plain loop of torch and transformers, in fp32: `generate` for a batch of prompts, the environment's own rewards,
REINFORCE with the group's mean as baseline over the sampled tokens, AdamW. Same prompts, groups, limits, rate and
clipping of the gradient as our arm; one step from fresh samples, so no ratio has to be kept in bounds.
"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from archipel.bench.peers_job import Diary, Job, Result, read_job, write_result
from archipel.bench.real_central import is_kept
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import Environment
from archipel.training.schedule import learning_rate

SPLIT = "train"


def train(job: Job) -> Result:
    """Run the job."""
    began = time.perf_counter()
    import torch
    import transformers
    from safetensors.torch import save_file

    torch.set_num_threads(job.threads)
    transformers.utils.logging.set_verbosity_error()
    imported_s = time.perf_counter() - began
    recipe = recipe_from_canonical(job.recipe.encode())
    torch.manual_seed(recipe.run.seed)
    environment = make_environment(recipe.environment, recipe.run.seed, None)
    loop = _Loop(recipe, environment, job.start)
    constructed_s = time.perf_counter() - began - imported_s
    diary = Diary()

    def keep(update: int) -> None:
        named = loop.model.named_parameters()
        save_file({name: each.detach().bfloat16() for name, each in named}, job.snapshot(update))

    diary.begin()
    for update in range(1, job.updates + 1):
        diary.rewards.append(loop.update(update - 1))
        diary.updated(update, partial(keep, update) if is_kept(job, update) else None)
    software = f"transformers {transformers.__version__}, torch {torch.__version__}"
    return Result(software, imported_s, constructed_s, tuple(diary.points), tuple(diary.rewards))


class _Loop:
    def __init__(self, recipe: Recipe, environment: Environment, start: str) -> None:
        import torch
        import transformers

        self._recipe, self._environment = recipe, environment
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(start, padding_side="left")
        self._tokenizer.pad_token = self._tokenizer.pad_token or self._tokenizer.eos_token
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            start, dtype=torch.float32
        )
        section = recipe.optimiser
        self._adam = torch.optim.AdamW(
            self.model.parameters(),
            lr=section.learning_rate,
            betas=(section.beta1, section.beta2),
            eps=section.epsilon,
            weight_decay=section.weight_decay,
            fused=True,
        )

    def update(self, number: int) -> float:
        """Sample, grade, step; returns the mean reward."""
        import torch

        recipe = self._recipe
        size, first = recipe.run.groups_per_update, number * recipe.run.groups_per_update
        tasks = [self._environment.task(SPLIT, first + each) for each in range(size)]
        prompts = self._prompts([task.prompt for task in tasks])
        with torch.inference_mode():
            whole = self._sample(prompts)
        answers = whole[:, prompts["input_ids"].shape[1] :].clone()
        mask, finished = self._sampled(answers)
        texts = self._tokenizer.batch_decode(answers * mask, skip_special_tokens=True)
        per_group = recipe.run.group_size
        rewards = torch.tensor(
            [
                self._environment.grade(tasks[at // per_group], text, bool(finished[at]))
                for at, text in enumerate(texts)
            ]
        ).reshape(size, per_group)
        advantages = rewards - rewards.mean(1, keepdim=True)
        kept = [group for group in range(size) if advantages[group].any()]
        self._step(number, kept, advantages, prompts, answers, mask)
        return float(rewards.mean())

    def _prompts(self, texts: list[str]) -> Any:
        if self._tokenizer.chat_template is None:
            return self._tokenizer(texts, return_tensors="pt", padding=True)
        chats = [[{"role": "user", "content": text}] for text in texts]
        return self._tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
        )

    def _sample(self, prompts: Any) -> Any:
        recipe = self._recipe
        return self.model.generate(
            **prompts,
            do_sample=True,
            temperature=recipe.sampling.temperature,
            top_k=0,
            top_p=1.0,
            num_return_sequences=recipe.run.group_size,
            max_new_tokens=recipe.sampling.max_new_tokens,
            pad_token_id=self._tokenizer.pad_token_id,
        )

    def _sampled(self, answers: Any) -> tuple[Any, Any]:
        """Which places hold sampled tokens (up to and with the first that ends), and which rows end."""
        import torch

        ends = self.model.generation_config.eos_token_id
        named = torch.tensor(ends if isinstance(ends, list) else [ends])
        is_end = torch.isin(answers, named)
        before = is_end.cumsum(1) - is_end.long()
        return (before == 0).long(), is_end.any(1)

    def _step(
        self, number: int, kept: list[int], advantages: Any, prompts: Any, answers: Any, mask: Any
    ) -> None:
        """One group's rollouts at a time through the network; the token mean over all of them."""
        import torch

        recipe, per_group = self._recipe, self._recipe.run.group_size
        rows = [slice(group * per_group, (group + 1) * per_group) for group in kept]
        total = sum(int(mask[each].sum()) for each in rows)
        for group, each in zip(kept, rows, strict=True):
            prompt = prompts["input_ids"][group].expand(per_group, -1)
            seen = prompts["attention_mask"][group].expand(per_group, -1)
            attention = torch.cat((seen, mask[each]), 1)
            positions = (attention.cumsum(1) - 1).clamp(min=0)
            ids = torch.cat((prompt, answers[each]), 1)
            logits = self.model(
                input_ids=ids, attention_mask=attention, position_ids=positions,
                logits_to_keep=answers.shape[1] + 1,
            ).logits[:, :-1]  # fmt: skip
            logprobs = torch.log_softmax(logits / recipe.sampling.temperature, -1)
            chosen = logprobs.gather(2, answers[each].unsqueeze(2)).squeeze(2)
            loss = -(advantages[group].unsqueeze(1) * chosen * mask[each]).sum() / total
            loss.backward()
        if kept:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.optimiser.clip_norm)
            for settings in self._adam.param_groups:
                settings["lr"] = learning_rate(recipe.optimiser, number, recipe.run.versions)
            self._adam.step()
            self._adam.zero_grad(set_to_none=True)


if __name__ == "__main__":
    job = read_job(Path(sys.argv[1]))
    write_result(job, train(job))
