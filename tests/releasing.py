"""A lab's home whose run has real weights: told by a world in a second, with nothing that learns."""

from pathlib import Path
from typing import Any

import torch

from archipel.lab.lab import Lab
from archipel.ledger.location import open_log
from archipel.ledger.verification import lab_key
from archipel.model.directory import write_model
from archipel.model.manifest import Manifest, describe
from archipel.model.tokenizer import tokenizer_named
from archipel.model.versions import encode_anchor, encode_delta
from archipel.records.kinds.evaluate import EvaluateSpec
from archipel.records.kinds.update import UpdateSpec
from archipel.records.programmes.rl import RlPace
from archipel.records.recipe import Recipe
from archipel.records.statements import LeaseGranted, ModelFile, RunOpened
from archipel.records.terms import Terms
from archipel.training.start import initial_model
from people import Learner, identity
from tiny import NAME, tiny_recipe
from world import PACE, TERMS, World, finish

VERSIONS = 4


class LabHome(World):
    """A world whose ledger and blobs lie in a folder, under the name that a lab's have."""

    def _open_lab(self) -> Lab:
        own = identity("lab")
        assert self._ledger is not None
        log = open_log(
            self._ledger, lab_key(own.did).name, own, self._ledger.with_name("ledger.head")
        )
        return Lab(own, log, self.blobs, clock_ms=lambda: self.now_ms, in_thread=False)

    def open_real(self, recipe: Recipe, start: Path) -> None:
        files = [
            ModelFile(name=path.name, blob=self.put(path.read_bytes()))
            for path in sorted(start.iterdir())
        ]
        self.speak(
            self.operator,
            RunOpened,
            run=NAME,
            recipe=self.put(recipe.canonical_bytes()),
            terms=Terms(**(TERMS | {"versions": VERSIONS})),
            pace=RlPace(**PACE),
            model=tuple(files),
            trusted=(identity("learner").did,),
        )


class Drifting(Learner):
    """A trusted role whose weights move a little at random: every version is true, and nothing was learned."""

    def begin(self, state: dict[str, torch.Tensor], anchor_every: int) -> None:
        self.state, self.anchor_every = state, anchor_every
        self.manifest: Manifest | None = None

    def version_fields(self, grant: LeaseGranted) -> dict[str, Any]:
        fields = super().version_fields(grant)
        spec = grant.spec
        assert isinstance(spec, UpdateSpec)
        before, held = self.state, self.manifest
        if held is not None:
            torch.manual_seed(spec.version)
            self.state = {
                name: (each.float() * (1 + 0.01 * torch.randn(each.shape))).to(torch.bfloat16)
                for name, each in before.items()
            }
        self.manifest = describe(self.state, spec.version, None if held is None else held.state)
        delta = (
            None
            if held is None
            else self.put(encode_delta(before, self.state, held, self.manifest))
        )
        anchor = None
        if spec.version % self.anchor_every == 0:
            anchor = self.put(encode_anchor(self.state))
        return fields | {
            "policy": self.manifest.state,
            "manifest": self.put(self.manifest.to_bytes()),
            "anchor": anchor,
            "delta": delta,
        }

    def words(self, grant: LeaseGranted) -> dict[str, Any]:
        words = super().words(grant)
        spec = grant.spec
        if isinstance(spec, EvaluateSpec):
            report = b'{"metrics":{"score_micro":1},"tasks":"sha256:%b","version":%d}' % (
                b"ab" * 32,
                spec.version,
            )
            words["report"] = self.put(report)
        return words


def lab_home(folder: Path) -> Path:
    """A lab's home in `folder`: one run of VERSIONS versions, over."""
    told(folder).close()
    return folder


def told(folder: Path) -> LabHome:
    """The same, with its lab still there."""
    recipe = tiny_recipe(VERSIONS, 1)
    start = folder.parent / f"{folder.name}-start"
    folder.mkdir(parents=True)
    tokenizer = tokenizer_named(recipe.model.tokenizer)
    model = initial_model(recipe, tokenizer)
    write_model(start, model, model.config, tokenizer)
    state = {name: each.detach().to(torch.bfloat16) for name, each in model.state_dict().items()}
    world = LabHome(folder)
    world.open_real(recipe, start)
    learner = Drifting(world, identity("learner"))
    learner.begin(state, anchor_every=2)
    learner.join()
    finish(world, learner, [world.provider("quick", 40_000), world.provider("slow", 400)])
    while learner.work() is not None:
        pass
    return world
