"""The text of a contribution: which windows of which shard, read from what an agent laid ready.

Parts: `Texts` (of the runs worked in lately), `manifest_of`. Law: what a manifest's digest does not show of a shard
(tokens beyond the vocabulary, another tokenizer) is looked at before anything is learned from it, and is the run's
fault, not the machine's.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from archipel.model.tokenizer import InvalidTokenizer
from archipel.records.corpus import BadCorpus, CorpusManifest
from archipel.records.kinds.inner_step import InnerStepSpec
from archipel.records.programmes.pretrain import PretrainPace
from archipel.training.corpus.assignment import assignment
from archipel.training.corpus.batches import batches
from archipel.training.corpus.shard import TokenShard, open_shard
from archipel.training.corpus.tokenising import Ids
from archipel.work.contributing import block_terms
from archipel.work.kind import Context, WorkFailed
from archipel.work.recent import Recent

Windows = tuple[np.ndarray, np.ndarray]
"""Tokens and the documents that they are of, each (B, L + 1)."""


class Texts:
    """Remembers which models fit the text of their run."""

    def __init__(self) -> None:
        self._fitting: Recent[Path, str] = Recent()
        """Model directory -> digest of the tokenizer that it has."""

    def of(self, spec: InnerStepSpec, context: Context, pace: PretrainPace) -> Iterator[Windows]:
        """The windows of each inner step that the work is asked for, in order.

        Raises:
            WorkFailed: text and run do not fit together, or there is no more text.
        """
        try:
            manifest = manifest_of(context, pace)
            self._require_tokenizer(context.model, manifest)
            taken = assignment(
                manifest.shards, block_terms(pace), pace.seed, spec.version, spec.index
            )
            shard = _opened(manifest, taken.shard, context.blobs)
        except (BadCorpus, ValueError) as error:
            raise WorkFailed(f"the text of {context.run}: {error}") from None
        corpus = pace.corpus
        windows = taken.windows[: spec.steps * corpus.batch]
        return (
            (each.tokens, each.documents)
            for each in batches(shard, windows, corpus.sequence_length, corpus.batch)
        )

    def _require_tokenizer(self, model: Path, manifest: CorpusManifest) -> None:
        """Raises BadCorpus: the text was cut by another tokenizer than the model's."""
        digest = self._fitting.get(model)
        if digest is None:
            try:
                digest = Ids.named(str(model)).digest
            except InvalidTokenizer as error:
                raise BadCorpus(f"the model's tokenizer cannot be read: {error}") from None
            self._fitting.put(model, digest)
        if digest != manifest.tokenizer:
            raise BadCorpus(
                f"it was made with the tokenizer {manifest.tokenizer}, the model has {digest}; open a run of a corpus "
                "that was made with --model of this one"
            )


def manifest_of(context: Context, pace: PretrainPace) -> CorpusManifest:
    """Of the run's text. Raises BadCorpus: it is none."""
    path = context.blobs.get(pace.corpus.manifest.digest)
    if path is None:
        raise BadCorpus(f"its manifest {pace.corpus.manifest.digest} did not come with the work")
    return CorpusManifest.from_bytes(path.read_bytes())


def _opened(manifest: CorpusManifest, number: int, blobs: Mapping[str, Path]) -> TokenShard:
    said = manifest.shards[number]
    path = blobs.get(said.digest)
    if path is None:
        raise BadCorpus(f"shard {number}, {said.digest}, did not come with the work")
    shard = open_shard(path)
    shard.require_ids_below(manifest.vocabulary)
    header = shard.header
    found = (header.tokens, header.documents, header.tokenizer, header.width)
    expected = (said.tokens, said.documents, manifest.tokenizer, manifest.token_bytes)
    if found != expected:
        raise BadCorpus(
            f"shard {number} says {found}, its manifest {expected} (tokens, documents, tokenizer, bytes of a token); the "
            "two were not made together"
        )
    return shard
