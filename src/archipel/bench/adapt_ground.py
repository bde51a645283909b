"""What all ways of `bench adapt` stand on: a pretrained model, and a text cut into the windows of works.

Parts: `Ground`, `ground_of`. The last tenth of the text is held out; its first half judges learning rates, its second half
what came of them. Law: who is trained on which windows is what a run with this corpus would assign.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from archipel.bench.adapt_plan import AdaptPlan
from archipel.model.directory import read_model
from archipel.model.network import Decoder
from archipel.records.corpus import BadCorpus, CorpusManifest
from archipel.training.corpus.assignment import assignment, require_versions
from archipel.training.corpus.batches import windows_of
from archipel.training.corpus.folder import shard_names
from archipel.training.corpus.making import Order, Tell, make_corpus
from archipel.training.corpus.shard import TokenShard, open_shard
from archipel.training.exchange.codec import Tensors
from archipel.training.inner.windows import Windows, evaluate

HELD_OUT = 10
"""One part in so many, the last of the text."""
MAX_TEXT_BYTES = 8 * 2**20
"""The text is one document."""
LEARNED, HELD = "learned.txt", "held-out.txt"


@dataclass(frozen=True)
class Ground:
    """One model and one text."""

    plan: AdaptPlan
    network: Decoder
    start: Tensors
    """Its weights, float32."""
    manifest: CorpusManifest
    shards: tuple[TokenShard, ...]
    """What is learned."""
    judged: Windows
    tuned_on: Windows

    def work(self, seed: int, version: int, index: int) -> list[Windows]:
        """The windows of each inner step of one work."""
        plan, manifest = self.plan, self.manifest
        given = assignment(manifest.shards, plan.blocks, seed, version, index)
        found = windows_of(self.shards[given.shard], given.windows, plan.sequence_length)
        return [
            (found.tokens[at : at + plan.batch], found.documents[at : at + plan.batch])
            for at in range(0, plan.blocks.block, plan.batch)
        ]

    def together(self, seed: int, version: int) -> Iterator[Windows]:
        """The windows of all members' works, those of the same inner step as one batch."""
        works = [self.work(seed, version, index) for index in range(self.plan.members)]
        for step in zip(*works, strict=True):
            tokens, documents = zip(*step, strict=True)
            yield np.concatenate(tokens), np.concatenate(documents)

    def nats(self, weights: Tensors, windows: Windows) -> float:
        """Loss of these weights, nats a token."""
        _put(self.network, weights)
        total, tokens = evaluate(self.network, [windows])
        return total / tokens

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights."""
        return {name: each.shape for name, each in self.start.items()}


def ground_of(
    plan: AdaptPlan,
    model: Path,
    text: Path,
    folder: Path,
    tell: Tell,
    environment: Mapping[str, str],
) -> Ground:
    """Make it. model: a directory with its tokenizer. folder: where the corpora lie.

    Raises:
        BadCorpus: the text is too long or too short. InvalidModel, InvalidTokenizer: of the model.
        OSError: the text cannot be read or the folder not written.
    """
    _split(text, folder)
    corpora = {
        name: make_corpus(
            Order((folder / name,), str(model), folder / f"corpus of {name}", "LicenseRef-own", text.name),
            tell,
            environment,
        ).manifest
        for name in (LEARNED, HELD)
    }  # fmt: skip
    manifest = corpora[LEARNED]
    require_versions(manifest, plan.blocks, plan.versions + plan.tuning_versions)
    network = read_model(model)
    start = {name: each.detach().numpy().copy() for name, each in network.named_parameters()}
    (held,) = _open(folder, HELD, corpora[HELD])
    num = (len(held.tokens) - 1) // plan.sequence_length
    half = num // 2
    if half < max(plan.held_out, plan.tuned_on):
        raise BadCorpus(
            f"the last tenth of {text.name} has {num} windows, expected at least "
            f"{2 * max(plan.held_out, plan.tuned_on)}; give a longer text"
        )
    return Ground(
        plan,
        network,
        start,
        manifest,
        _open(folder, LEARNED, manifest),
        judged=_spread(held, half, num - half, plan.held_out, plan.sequence_length),
        tuned_on=_spread(held, 0, half, plan.tuned_on, plan.sequence_length),
    )


def _open(folder: Path, name: str, manifest: CorpusManifest) -> tuple[TokenShard, ...]:
    inside = folder / f"corpus of {name}"
    names = list(shard_names(manifest))[: len(manifest.shards)]
    return tuple(open_shard(inside / each) for each in names)


def _split(text: Path, folder: Path) -> None:
    """The text as two files, cut at the end of a line."""
    if (size := text.stat().st_size) > MAX_TEXT_BYTES:
        raise BadCorpus(
            f"{text} has {size} bytes, expected at most {MAX_TEXT_BYTES}; give a part of it"
        )
    data = text.read_bytes()
    cut = data.rfind(b"\n", 0, len(data) - len(data) // HELD_OUT) + 1
    if not cut:
        raise BadCorpus(f"{text} has no line end before its last tenth; give a text of many lines")
    folder.mkdir(parents=True, exist_ok=True)
    for path, part in ((folder / LEARNED, data[:cut]), (folder / HELD, data[cut:])):
        if not path.exists() or path.read_bytes() != part:
            path.write_bytes(part)


def _spread(shard: TokenShard, first: int, among: int, num: int, length: int) -> Windows:
    """So many windows spread evenly over `among` of them, beginning with window number `first`."""
    chosen = [first + place * among // num for place in range(num)]
    found = windows_of(shard, chosen, length)
    return found.tokens, found.documents


@torch.no_grad()
def _put(network: Decoder, weights: Tensors) -> None:
    for name, parameter in network.named_parameters():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(weights[name])))
