"""A run that is sampled by the exact contract, as its ledger and blobs tell it; no training, no lab."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from archipel.engine.exact.variants import VARIANTS
from archipel.lab.run_story import RunStory
from archipel.model.manifest import Manifest, describe
from archipel.model.versions import encode_anchor, encode_delta
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import PromptBatch, UpdateAnswer, UpdateSpec
from archipel.records.prompts import pack_prompts
from archipel.records.rollouts import pack_rollouts
from archipel.records.statements import LabOpened, LeaseGranted, ModelFile, RunOpened, WorkAnswered
from archipel.records.words import WorkAnswer, WorkSpec
from archipel.work.asked import requests_of
from exact.exact_models import exact_engine, world
from tiny import NAME, tiny_recipe
from work import asked

VERSIONS = 3
VARIANT = "w7a15"
GROUPS = 2
SAID = {"lab": asked.SOMEBODY, "author": asked.SOMEBODY, "seq": 1}


class ExactRun:
    """Statements of a whole run, and a folder of blobs; what stands in `statements` may be spoilt."""

    def __init__(self, folder: Path, variant: str | None = VARIANT) -> None:
        self.folder, self.variant = folder, variant
        self.config, state = world("qwen2")
        self.opened = self._opened()
        self.statements: dict[str, list[object]] = {
            "": [LabOpened(**SAID, operators=(asked.SOMEBODY,)), self.opened]
        }
        self.states: list[dict[str, Tensor]] = []
        before: tuple[dict[str, Tensor], Manifest] | None = None
        for version in range(VERSIONS):
            self.states.append(state)
            manifest = describe(state, version, before[1].state if before else None)
            prompts = self._prompts(version)
            self._published(version, state, manifest, before, prompts)
            self._sampled(version, state, manifest, prompts)
            before, state = (state, manifest), _moved(state, version)

    def story(self) -> RunStory:
        made = RunStory(NAME)
        for said in self.said():
            made.hear(said)
        return made

    def said(self) -> Iterator[object]:
        return (said for many in self.statements.values() for said in many)

    def put(self, data: bytes) -> BlobRef:
        blob = BlobRef(digest=sha256_digest(data), size=len(data))
        name = blob.digest.removeprefix("sha256:")
        path = self.folder / "blobs" / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return blob

    def _opened(self) -> RunOpened:
        recipe = tiny_recipe(VERSIONS, 0)
        plain = asked.opened(recipe)
        pace = plain.pace.model_copy(
            update={
                "exact": None if self.variant is None else VARIANTS[self.variant].identity,
                "vocab_size": self.config.vocab_size, "groups_per_update": GROUPS, "group_size": 3,
                "max_new_tokens": 8, "stop_tokens": (3, 5, 7), "temperature_micro": 800_000,
            }
        )  # fmt: skip
        model = [
            ("config.json", json.dumps(self.config.to_hf()).encode()),
            ("x.safetensors", b"weights"),
        ]
        files = tuple(ModelFile(name=name, blob=self.put(data)) for name, data in model)
        made = {"pace": pace, "model": files, "recipe": self.put(recipe.canonical_bytes())}
        return plain.model_copy(update=made)

    def _prompts(self, version: int) -> BlobRef:
        rows = [tuple(range(1 + version + group, 9 + 2 * group)) for group in range(GROUPS)]
        return self.put(pack_prompts(rows, batch=version))

    def _published(
        self,
        version: int,
        state: Mapping[str, Tensor],
        manifest: Manifest,
        before: tuple[dict[str, Tensor], Manifest] | None,
        prompts: BlobRef,
    ) -> None:
        delta = None
        if before is not None:
            delta = self.put(encode_delta(before[0], state, before[1], manifest))
        parent = before[1].state if before else None
        answer = UpdateAnswer(
            version=version, parent=parent, policy=manifest.state,
            manifest=self.put(manifest.to_bytes()),
            anchor=self.put(encode_anchor(state)) if version != 1 else None, delta=delta,
            memory=None, prompts=(PromptBatch(batch=version, blob=prompts),), metrics={},
        )  # fmt: skip
        spec = UpdateSpec(run=NAME, version=version, parent=parent, inputs=None, memory=None)
        self._answered(f"{NAME}.{2 * version + 1}", spec, answer)

    def _sampled(
        self, version: int, state: Mapping[str, Tensor], manifest: Manifest, prompts: BlobRef
    ) -> None:
        work = f"{NAME}.{2 * version + 2}"
        groups = tuple(range(version * GROUPS, (version + 1) * GROUPS))
        spec = RolloutSpec(
            run=NAME, version=version, policy=manifest.state, groups=groups, prompts=(prompts,)
        )
        made = exact_engine(self.config, state, self.variant or VARIANT)
        rollouts = made.generate(requests_of(spec, self.opened.pace, self.read))
        answer = RolloutAnswer(
            policy=manifest.state,
            result=self.put(
                pack_rollouts(
                    rollouts, work=work, policy=manifest.state, exact=self.opened.pace.exact
                )
            ),
            num_tokens=sum(len(one.tokens) for group in rollouts for one in group),
            busy_ms=1, exact=self.opened.pace.exact,
        )  # fmt: skip
        self._answered(work, spec, answer)

    def read(self, blob: BlobRef) -> bytes:
        name = blob.digest.removeprefix("sha256:")
        return (self.folder / "blobs" / name[:2] / name[2:]).read_bytes()

    def _answered(self, work: str, spec: WorkSpec, answer: WorkAnswer) -> None:
        granted = LeaseGranted(
            **SAID, work=work, node=asked.SOMEBODY, request_seq=1, deadline_ms=1, price_micro=1,
            spec=spec,
        )  # fmt: skip
        self.statements[work] = [granted, WorkAnswered(**SAID, work=work, answer=answer)]


def _moved(state: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The next version: a few weights of each tensor are others."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.where(
            torch.rand(each.shape, generator=generator) < 0.2,
            (each.float() * 1.25).bfloat16(),
            each,
        )
        for name, each in state.items()
    }
