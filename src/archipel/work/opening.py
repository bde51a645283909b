"""What a run of pretraining is opened with: its first weights, its text, the size of its contributions; and whether it
could work at all.

Parts: `begin_model`, `corpus_files`, `payload_bytes`, `shortcomings`. Law: what members or the trusted role could only fail
at is found here, before anybody is asked for anything.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from archipel.model.config import DecoderConfig
from archipel.model.config_files import InvalidModel, read_config
from archipel.model.directory import expected_shapes, read_model, write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import InvalidTokenizer, tokenizer_named
from archipel.records.corpus import BadCorpus, CorpusManifest
from archipel.records.fields import BlobRef
from archipel.records.pretraining import MAX_SHARDS
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.records.seeds import derive_seed
from archipel.training.corpus.assignment import BlockTerms, require_versions
from archipel.training.corpus.folder import MANIFEST, read_manifest, shard_names
from archipel.training.corpus.tokenising import Ids
from archipel.training.corpus.verifying import verify_corpus
from archipel.training.exchange import CodecTerms, codec_of
from archipel.training.exchange.table import BadTable
from archipel.work.held_out import Learned, exam_text, gate_pool

Tell = Callable[[str], None]


def begin_model(recipe: PretrainRecipe, out: Path) -> None:
    """Write the model directory that version 0 is made from: random weights of the recipe's `[model]`, by the run's seed.

    Raises:
        InvalidModel: there is no such architecture. OSError: `out` is taken or cannot be written.
    """
    tokenizer = tokenizer_named(recipe.model.tokenizer)
    config = DecoderConfig.from_section(recipe.model, tokenizer)
    model = random_weights(config, derive_seed("weights", recipe.run.seed))
    write_model(out, model, config, tokenizer)


def corpus_files(recipe: PretrainRecipe) -> dict[Path, BlobRef]:
    """The corpus's manifest and the shards that members learn from, in their order; held-out ones stay here.

    Raises:
        BadCorpus: no corpus lies there, or one of too many shards. OSError: it cannot be read.
    """
    folder = Path(recipe.corpus.path)
    manifest = read_manifest(folder)
    if len(manifest.shards) > MAX_SHARDS:
        raise BadCorpus(
            f"{folder} has {len(manifest.shards)} shards, and a run takes at most {MAX_SHARDS}: make it again with larger "
            "ones (--shard-tokens)"
        )
    data = manifest.to_bytes()
    files = {folder / MANIFEST: BlobRef(digest=manifest.digest, size=len(data))}
    for name, shard in shard_names(manifest).items():
        if any(shard is each for each in manifest.shards):
            files[folder / name] = BlobRef(digest=shard.digest, size=shard.size)
    return files


def payload_bytes(recipe: PretrainRecipe, weights: Path) -> int:
    """Of every contribution to a run from the model directory `weights`.

    Raises:
        InvalidModel: it is none. BadTable: it has too many or too large tensors.
    """
    exchange = recipe.exchange
    terms = CodecTerms(
        exchange.codec, **({"kept": exchange.kept} if exchange.codec == "top_k" else {})
    )
    return codec_of(terms).size(dict(expected_shapes(read_config(weights))))


def shortcomings(recipe: PretrainRecipe, weights: Path, tell: Tell) -> list[str]:
    """What stands in the way of a run of `recipe` from the directory `weights`; empty if nothing was found.

    tell: what is being looked at.
    """
    try:
        return list(_faults(recipe, weights, tell))
    except (BadCorpus, InvalidModel, InvalidTokenizer, BadTable, OSError) as error:
        return [str(error)]


def _faults(recipe: PretrainRecipe, weights: Path, tell: Tell) -> Iterator[str]:
    ids, config = Ids.named(str(weights)), read_config(weights)
    found = verify_corpus(Path(recipe.corpus.path), ids, tell)
    yield from found.faults
    if recipe.corpus.digest not in (None, found.manifest.digest):
        yield f"corpus.path holds {found.manifest.digest}, corpus.digest is {recipe.corpus.digest}: name the right one"
    yield from _misfits(recipe, config, found.manifest)
    for name, weight in read_model(weights).named_parameters():
        if not torch.isfinite(weight).all():
            yield f"{weights}: tensor {name} is not finite; nothing can be learned from there"
    payload_bytes(recipe, weights)
    if found.faults:
        return
    learned = Learned(frozenset(each.digest for each in found.manifest.shards), ids.digest)
    exam_text(recipe, learned)
    if recipe.merge.loss_gate:
        gate_pool(recipe, learned)


def _misfits(
    recipe: PretrainRecipe, config: DecoderConfig, manifest: CorpusManifest
) -> Iterator[str]:
    """Text, model and merges against each other. Raises BadCorpus: there is too little text."""
    corpus, merge = recipe.corpus, recipe.merge
    if manifest.vocabulary > config.vocab_size:
        yield f"the corpus has {manifest.vocabulary} token ids, the model {config.vocab_size}; make it with the model's tokenizer"
    if corpus.sequence_length > config.max_position_embeddings:
        yield (
            f"corpus.sequence_length is {corpus.sequence_length}, and the model's context is "
            f"{config.max_position_embeddings}: shorten the one or lengthen the other"
        )
    if merge.loss_gate and merge.gate_step > 1:
        yield f"merge.gate_step is {merge.gate_step}: a contribution is followed to its own weights (1) at most"
    terms = BlockTerms(
        sequence_length=corpus.sequence_length,
        steps=recipe.inner.steps,
        batch=corpus.batch,
        members=recipe.run.members,
        epochs=corpus.epochs,
    )
    require_versions(manifest, terms, recipe.run.versions)
