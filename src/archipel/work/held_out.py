"""Held-out text of a run of pretraining, read by the trusted role from its own disk.

Parts: `HeldOut`, `held_out_at`; `exam_text` and `gate_pool` (which part of it is for what). A folder is a corpus, whose
held-out shards are taken; of another corpus than the run's, all shards where none is held out. Law: nothing that members
learn from is taken, and what evaluations look at is in no gate's text, so that a score which was published says nothing
about the text that comes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archipel.records.corpus import BadCorpus, CorpusManifest, Shard
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.training.corpus.batches import windows_of
from archipel.training.corpus.folder import read_manifest, shard_names
from archipel.training.corpus.shard import TokenShard, open_shard

Windows = tuple[np.ndarray, np.ndarray]
"""Tokens and the documents that they are of, each (B, L + 1)."""
MAX_POOL_TOKENS = 2**26
"""From which a gate's text is drawn, held in memory: 256 MB of them."""
AT_ONCE = 16
"""Windows that are read together."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out windows of one folder, numbered through its shards."""

    shards: tuple[TokenShard, ...]
    sequence_length: int

    @property
    def windows(self) -> int:
        """How many there are."""
        return sum(map(self._windows_in, self.shards))

    def read(self, first: int, last: int) -> Iterator[Windows]:
        """Windows `first` to `last` - 1, a few at a time. Raises BadCorpus."""
        begin = 0
        for shard in self.shards:
            here = self._windows_in(shard)
            numbers = range(max(first - begin, 0), min(last - begin, here))
            for start in range(0, len(numbers), AT_ONCE):
                found = windows_of(shard, numbers[start : start + AT_ONCE], self.sequence_length)
                yield found.tokens, found.documents
            begin += here

    def _windows_in(self, shard: TokenShard) -> int:
        return (shard.header.tokens - 1) // self.sequence_length


@dataclass(frozen=True)
class Learned:
    """What members learn from."""

    shards: frozenset[str]
    """Digests of all of it."""
    tokenizer: str | None = None
    """Digest of the one that held-out text must have been cut by as well; None: any."""


def held_out_at(folder: Path, recipe: PretrainRecipe, learned: Learned) -> HeldOut:
    """The held-out text in a folder that a recipe names.

    Raises:
        BadCorpus: no corpus, another tokenizer's, nothing that members do not learn from, or a shard that is missing or
            is none.
        OSError: it cannot be read.
    """
    manifest = read_manifest(folder)
    wanted = manifest.held_out or manifest.shards
    if any(shard.digest in learned.shards for shard in wanted):
        raise BadCorpus(
            f"{folder} holds nothing out that members do not learn from: make it with --held-out (a share of its documents; "
            "--documents blank-lines makes more of one file), or name another corpus"
        )
    if learned.tokenizer not in (None, manifest.tokenizer):
        raise BadCorpus(
            f"{folder} was made with the tokenizer {manifest.tokenizer}, the run's text with {learned.tokenizer}; make it "
            "again with that one"
        )
    shards = tuple(_shards(folder, manifest, wanted))
    return HeldOut(shards, recipe.corpus.sequence_length)


def _shards(
    folder: Path, manifest: CorpusManifest, wanted: Sequence[Shard]
) -> Iterator[TokenShard]:
    for name, shard in shard_names(manifest).items():
        if any(shard is each for each in wanted):
            opened = open_shard(folder / name)
            opened.require_ids_below(manifest.vocabulary)
            yield opened


def exam_text(recipe: PretrainRecipe, learned: Learned) -> tuple[HeldOut, int]:
    """What evaluations look at, and how many windows of it, from the first. Raises as `held_out_at`."""
    folder = Path(recipe.evaluation.path or recipe.corpus.path)
    held = held_out_at(folder, recipe, learned)
    if not held.windows:
        raise BadCorpus(
            f"{folder} has no whole window of {recipe.corpus.sequence_length} + 1 held-out tokens; hold more text out "
            "(`archipel corpus make --held-out`), or shorten the windows"
        )
    return held, min(recipe.evaluation.windows, held.windows)


def gate_pool(recipe: PretrainRecipe, learned: Learned) -> np.ndarray:
    """Tokens (n, L + 1) of the windows that gates draw from. Raises as `held_out_at`; BadCorpus: they are too few."""
    folder = Path(recipe.merge.gate_path)
    held = held_out_at(folder, recipe, learned)
    exams = Path(recipe.evaluation.path or recipe.corpus.path)
    first = recipe.evaluation.windows if folder.resolve() == exams.resolve() else 0
    most = MAX_POOL_TOKENS // (recipe.corpus.sequence_length + 1)
    last = min(held.windows, first + max(most, recipe.merge.gate_sequences))
    if last - first < recipe.merge.gate_sequences:
        raise BadCorpus(
            f"{folder} has {max(last - first, 0)} held-out windows beside the {first} that evaluations look at, and a gate "
            f"takes {recipe.merge.gate_sequences}: hold more text out, or lower evaluation.windows or "
            "merge.gate_sequences"
        )
    return np.concatenate([tokens for tokens, _ in held.read(first, last)])
