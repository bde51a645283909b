"""Log-probabilities of sampled tokens under the current weights, and their gradient.

Law: the distribution is the one that was sampled from, so logits are divided by the recipe's temperature
before the softmax, those of tokens that are not allowed have no part in it, and it is cut as the recipe says by the weights at hand (which a recipe with a cut makes those that
sampled). The vocabulary is only computed where a sampled token is predicted, and
there a chunk at a time (`vocabulary`).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from archipel.model.cuts import Left
from archipel.model.network import Decoder
from archipel.records.cuts import Cut
from archipel.records.requests import Allowed
from archipel.training.batch import Batch
from archipel.training.packing import Row, build, moved, muted, row_attention
from archipel.training.products import FastLinear
from archipel.training.sharding import Site, shard
from archipel.training.vocabulary import score_tokens


class Scorer(nn.Module):
    """A decoder seen as a scorer; one `forward` per micro-batch, which is what FSDP2 wraps."""

    def __init__(
        self,
        decoder: Decoder,
        temperature: float,
        site: Site,
        *,
        cut: Cut | None = None,
        learns_entropy: bool = False,
    ) -> None:
        """cut: what was left of the distribution. learns_entropy: the entropies that it gives have a gradient, too."""
        super().__init__()
        self._learns_entropy = learns_entropy
        self.decoder = decoder
        self.temperature = temperature
        self._cut = cut
        self.allowed: Allowed | None = None
        """The tokens that were allowed where its batches were sampled; None: all."""
        self._site = site
        self._device = next(decoder.parameters()).device
        shard(self, decoder.model.layers, site)

    def batch_of(self, rows: Sequence[Row]) -> Batch:
        """The share of this rank in a micro-batch, where the model is.

        A rank without rows still gets one, muted, for it must take part in gathering and reducing.
        """
        mine = rows[self._site.rank :: self._site.world]
        batch = build(mine) if mine else muted(build(rows[:1]))
        return batch if self._device.type == "cpu" else moved(batch, self._device)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logprobs_N (differentiable) and entropy_N in nats (where it is learned from, too), both fp32."""
        attention = row_attention(batch)
        with FastLinear():
            hidden = self.decoder(batch.tokens_BT, batch.positions_BT, attention)
        hidden_Nd = hidden.flatten(0, 1).index_select(0, batch.predictors_N)
        head = self.decoder.output_weight
        return score_tokens(
            hidden_Nd,
            head,
            batch.targets_N,
            self.temperature,
            learns_entropy=self._learns_entropy,
            left=Left(self._cut, self.allowed),
        )
