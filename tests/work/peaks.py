"""What a work process really holds: a run of four versions with a model of some size, learned or sampled.

`python -m work.peaks update|node FOLDER WAY WIDTH LAYERS INNER` prints the highest resident memory in bytes; `node`
samples from what `update` left in FOLDER. WAY is one of `WAYS`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from archipel.bench.processor import memory_bytes
from archipel.cli.doors import KEEP_MEMORY
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.planning.laws import holding
from archipel.planning.laws.holding import Held, Pass
from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.recipe import AdapterSection, MemorySection, Recipe
from archipel.records.rollouts import Rollout, pack_rollouts
from archipel.work.kind import EngineChoice
from archipel.work.kinds import rollout as rollouts
from archipel.work.kinds.update import Updates
from archipel.work.messages import LinkMessage
from archipel.work.room import shape_of, thrift_of
from tiny import NAME, tiny_recipe
from work import asked
from work.trusted import Trusted

VERSIONS, GROUPS, NEW_TOKENS, MICRO_BATCH = 4, 8, 60, 4096
ROW = 243
"""A prompt of four tokens and four completions that share it."""


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16": {"memory": MemorySection(compute="bfloat16")},
    "8bit": {"memory": MemorySection(moments="8bit")},
    "recompute": {"memory": MemorySection(recompute_layers=True)},
    "lora": {"adapter": AdapterSection(rank=8)},
    "all": {
        "memory": MemorySection(compute="bfloat16", recompute_layers=True, moments="8bit"),
        "adapter": AdapterSection(rank=8),
    },
}
"""Sections of a recipe that learns in less memory."""


def recipe_of(width: int, layers: int, inner: int, way: str = "plain") -> Recipe:
    plain, heads = tiny_recipe(VERSIONS, 0).model_copy(update=WAYS[way]), 8
    changes = {
        "model": {"hidden_size": width, "num_layers": layers, "intermediate_size": inner,
                  "num_heads": heads, "num_kv_heads": heads, "max_position_embeddings": 128},
        "sampling": {"max_new_tokens": NEW_TOKENS},
        "optimiser": {"micro_batch_tokens": MICRO_BATCH},
        "run": {"groups_per_update": GROUPS},
    }  # fmt: skip
    sections = {
        name: getattr(plain, name).model_copy(update=change) for name, change in changes.items()
    }
    return plain.model_copy(update=sections)


def foreseen(what: str, recipe: Recipe) -> Held:
    """By the formulas: all groups learn, as 16 rows that share prompts; a lease of half a batch."""
    shape = shape_of(DecoderConfig.from_section(recipe.model, character_tokenizer()))
    if what == "update":
        once = Pass(16 * ROW, ROW, GROUPS * 8 * NEW_TOKENS)
        rank = None if recipe.adapter is None else recipe.adapter.rank
        return holding.update(shape, once, rank, thrift_of(recipe))
    return holding.sampling(shape, GROUPS // 2 * 8, 80)


def measured(what: str, folder: Path, form: tuple[int, int, int], way: str = "plain") -> int:
    """The same as a fresh process finds it."""
    command = [sys.executable, "-m", "work.peaks", what, str(folder), way, *map(str, form)]
    environment = {**KEEP_MEMORY, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


class _Long(Trusted):
    """Every group has something to learn from: one short right answer or its reverse, and long ones."""

    def _sampled(self, batch: int) -> AcceptedWork:
        work, policy, groups = f"tiny.{batch + 2}", self.policies[-1], []
        long = Rollout((5,) * NEW_TOKENS, (-0.7,) * NEW_TOKENS, False)
        for prompt in self.prompts[batch]:
            first, second = prompt[-3:-1]
            ways = [
                Rollout((*way, 2), (-0.7,) * 3, True) for way in ((first, second), (second, first))
            ]
            groups.append([*ways, *[long] * 6])
        blob = self._kept(f"result-{batch}", pack_rollouts(groups, work=work, policy=policy))
        indices = tuple(range(batch * GROUPS, (batch + 1) * GROUPS))
        spec = RolloutSpec(
            run=NAME, version=batch, policy=policy, groups=indices, prompts=(asked.NOTHING,)
        )
        answer = RolloutAnswer(policy=policy, result=blob, num_tokens=1, busy_ms=1)
        return AcceptedWork(work=work, spec=spec, answer=answer)


def update(folder: Path, recipe: Recipe) -> None:
    config = DecoderConfig.from_section(recipe.model, character_tokenizer())
    write_model(folder / "start", random_weights(config, 0), config, character_tokenizer())
    trusted, updates = _Long(folder, folder / "start", recipe), Updates()
    for version in range(VERSIONS):
        answer = trusted.ask(updates, "memory")
        trusted.accept(answer)
        for name, path in answer.files.items():
            shutil.copy(path, folder / f"{version}-{name}")
        (folder / f"{version}-policy").write_text(str(answer.values["policy"]))
    updates.close()


def node(folder: Path, recipe: Recipe) -> None:
    kind, chain = rollouts.make(EngineChoice()), []
    for version in range(VERSIONS):
        anchor, delta = folder / f"{version}-anchor", folder / f"{version}-delta"
        link = LinkMessage(
            version=version,
            policy=(folder / f"{version}-policy").read_text(),
            manifest=folder / f"{version}-manifest",
            anchor=anchor if anchor.exists() else None,
            delta=delta if delta.exists() else None,
        )
        chain.append(link)
        path = folder / f"{version}-prompts-{version}"
        data = path.read_bytes()
        prompts = BlobRef(digest=sha256_digest(data), size=len(data))
        groups = tuple(range(GROUPS * version, GROUPS * version + GROUPS // 2))
        spec = RolloutSpec(
            run=NAME, version=version, policy=link.policy, groups=groups, prompts=(prompts,)
        )
        blobs = {prompts.digest: path}
        context = asked.context(recipe, folder / "start", folder, chain=tuple(chain), blobs=blobs)
        kind.run(spec, context, lambda tokens: None)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    act = {"update": update, "node": node}[sys.argv[1]]
    act(Path(sys.argv[2]), recipe_of(*map(int, sys.argv[4:]), sys.argv[3]))
    print(memory_bytes(os.getpid())[1])
