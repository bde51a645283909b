"""Pretraining: how likely a version makes held-out text, in nats per token."""

import math

from archipel.model.config_files import InvalidModel, read_config
from archipel.model.network import Decoder
from archipel.records.corpus import BadCorpus
from archipel.records.fields import MAX_SEQ
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.training.inner.windows import BadWindows, evaluate
from archipel.work.held_out import Learned, exam_text
from archipel.work.kind import Context, Progress, WorkFailed
from archipel.work.policies import Policy
from archipel.work.programme import Examiner, Marks, Seated

MICRO = 1_000_000


def examiner(context: Context) -> Examiner:
    """One that keeps the text at hand.

    Raises:
        WorkFailed: held-out text or model cannot be used.
    """
    recipe, pace = context.recipe_as(PretrainRecipe), context.pace_as(PretrainPace)
    learned = Learned(frozenset(each.digest for each in pace.corpus.shards))
    try:
        held, windows = exam_text(recipe, learned)
        network = Decoder(read_config(context.model))
    except (BadCorpus, InvalidModel) as error:
        raise WorkFailed(f"held-out text of {context.run}: {error}") from None

    def marks(policy: Policy, seated: Seated, progress: Progress) -> Marks:
        network.load_state_dict(
            {name: each.float() for name, each in policy.state.items()}, strict=True
        )
        nats, tokens = 0.0, 0
        try:
            for part in held.read(0, windows):
                more = evaluate(network, [part])
                nats, tokens = nats + more[0], tokens + more[1]
                progress(tokens)
        except (BadWindows, BadCorpus) as error:
            raise WorkFailed(f"held-out text of {context.run}: {error}") from None
        return Marks(_scores(nats, tokens), {"split": "held-out", "windows": windows})

    return Examiner(examine=marks, close=lambda: None)


def _scores(nats: float, tokens: int) -> dict[str, int]:
    """Raises WorkFailed: they are no numbers."""
    if not tokens or not math.isfinite(nats):
        raise WorkFailed(
            f"{nats} nats in {tokens} predicted tokens: the run has diverged, or its held-out documents have one token each"
        )
    loss = nats / tokens
    perplexity = math.exp(min(loss, math.log(MAX_SEQ / MICRO)))
    return {
        "loss_micro": round(loss * MICRO),
        "perplexity_micro": min(round(perplexity * MICRO), MAX_SEQ),
        "tokens": tokens,
    }
