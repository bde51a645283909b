"""What an agent would lay ready for a piece of work of the tiny run."""

from pathlib import Path
from typing import Any

from archipel.identity import Identity
from archipel.model.tokenizer import character_tokenizer
from archipel.records.canonical import sha256_digest
from archipel.records.experts import ExpertTerms
from archipel.records.fields import BlobRef
from archipel.records.programmes import rl
from archipel.records.recipe import Recipe
from archipel.records.statements import ModelFile, RunOpened
from archipel.records.terms import Vocabulary
from archipel.work.kind import Context
from archipel.work.messages import Materials

TOKENIZER = character_tokenizer()
SOMEBODY = Identity.from_seed(bytes(32)).did
NOTHING = BlobRef(digest=sha256_digest(b""), size=0)


def opened(recipe: Recipe) -> RunOpened:
    vocabulary = Vocabulary(TOKENIZER.vocab_size, (TOKENIZER.eos_id,), experts_of(recipe))
    return RunOpened(
        lab=SOMEBODY,
        author=SOMEBODY,
        seq=1,
        run=recipe.run.name,
        recipe=BlobRef(digest=recipe.digest, size=1),
        terms=rl.WORDS.terms_of(recipe),
        pace=rl.WORDS.pace_of(recipe, vocabulary),
        model=(ModelFile(name="config.json", blob=NOTHING),),
        trusted=(SOMEBODY,),
    )


def experts_of(recipe: Recipe) -> ExpertTerms | None:
    """Of the recipe's own model, where routing is replayed."""
    model = recipe.model
    if not recipe.sampling.replays_routing:
        return None
    return ExpertTerms(
        layers=model.num_layers,
        count=model.num_experts,
        chosen=model.experts_per_token,
        prompt_tokens=model.max_position_embeddings,
    )


def materials(run: Recipe, model: Path, /, **changed: Any) -> dict[str, Any]:
    """Fields of `Materials`: nothing but the run and its model, unless changed."""
    plain: dict[str, Any] = {
        "work": f"{run.run.name}.1",
        "opened": opened(run),
        "model": model,
        "chain": (),
        "blobs": {},
        "secret": None,
        "recipe": None,
        "inputs": (),
        "replay": (),
        "checkpoint": None,
        "back": None,
    }
    assert plain.keys() == Materials.model_fields.keys()
    return plain | changed


def context(run: Recipe, model: Path, folder: Path, /, **changed: Any) -> Context:
    """A context whose scratch is `folder`; the child has no memory unless changed."""
    folders = {"scratch": folder, "memory": None}
    return Context(**(materials(run, model) | folders | changed))
