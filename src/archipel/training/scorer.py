"""Log-probabilities of sampled tokens under the current weights, and their gradient.

Law: the distribution is the one that was sampled from, so logits are divided by the recipe's temperature
before the softmax, and cut as the recipe says by the weights at hand (which a recipe with a cut makes those that
sampled). The vocabulary is only computed where a sampled token is predicted, and
there a chunk at a time (`vocabulary`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from archipel.model.adapter import is_adapted
from archipel.model.backends import AnyDecoder
from archipel.model.cuts import Left
from archipel.model.stock import StockDecoder
from archipel.records.cuts import Cut
from archipel.records.recipe import MemorySection
from archipel.records.requests import Allowed
from archipel.training.batch import Batch
from archipel.training.packing import Row, build, moved, muted, row_attention
from archipel.training.products import FastLinear
from archipel.training.routing import Routed, RoutingSums
from archipel.training.sharding import OneProcessOnly, Site, shard
from archipel.training.thrift import PLAIN, dtype_of, recompute
from archipel.training.vocabulary import Predicted


@dataclass(frozen=True)
class Scoring:
    """What is scored beside the weights and the temperature, and in which memory."""

    cut: Cut | None = None
    """What was left of the distribution."""
    learns_entropy: bool = False
    """The entropies that are given have a gradient, too."""
    memory: MemorySection = PLAIN
    replays_routing: bool = True
    """Tokens go to the experts that they were sampled by, where that is known."""


class Scorer(nn.Module):
    """A decoder seen as a scorer; one `forward` per micro-batch, which is what FSDP2 wraps."""

    def __init__(
        self,
        decoder: AnyDecoder,
        temperature: float,
        site: Site,
        scoring: Scoring = Scoring(),
    ) -> None:
        super().__init__()
        self.routing_sums = RoutingSums.of(decoder.config)
        """Of all batches since they were taken; None: the network has no experts."""
        self.decoder = decoder
        # Logits over both: what the network's own scaling leaves, and the temperature.
        self.temperature = temperature * decoder.config.logits_scaling
        self._scoring = scoring
        self.allowed: Allowed | None = None
        """The tokens that were allowed where its batches were sampled; None: all."""
        self._site = site
        self._device = next(decoder.parameters()).device
        if isinstance(decoder, StockDecoder):
            if site.world > 1:
                raise OneProcessOnly(
                    f"a model of backend transformers is trained in one process, not in {site.world}: start the role "
                    "without torchrun"
                )
            return
        if scoring.memory.recompute_layers:
            recompute(decoder.model.layers)
        layers, dtype = decoder.model.layers, dtype_of(scoring.memory)
        shard(self, layers, site, dtype, copies=is_adapted(decoder))

    @property
    def computes_bfloat16(self) -> bool:
        """Whether its log-probabilities are those of bf16 products."""
        return self._scoring.memory.compute == "bfloat16"

    @property
    def alone(self) -> bool:
        """Whether each sequence needs a row of its own: a network of others cannot be told who sees whom."""
        return isinstance(self.decoder, StockDecoder)

    def batch_of(self, rows: Sequence[Row]) -> Batch:
        """The share of this rank in a micro-batch, where the model is.

        A rank without rows still gets one, muted, for it must take part in gathering and reducing.
        """
        mine = rows[self._site.rank :: self._site.world]
        batch = build(mine) if mine else muted(build(rows[:1]))
        return batch if self._device.type == "cpu" else moved(batch, self._device)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logprobs_N (differentiable) and entropy_N in nats (where it is learned from, too), both fp32."""
        return self.scored(self.predicted(batch), batch)

    def scored(self, predicted: Predicted, batch: Batch) -> tuple[Tensor, Tensor]:
        """What `forward` makes of what `predicted` gave of the same batch; beside it in one process alone."""
        return predicted.score(batch.targets_N, learns_entropy=self._scoring.learns_entropy)

    def predicted(self, batch: Batch) -> Predicted:
        """What each sampled token is predicted from."""
        left = Left(self._scoring.cut, self.allowed)
        if isinstance(self.decoder, StockDecoder):
            return Predicted(self._logits(self.decoder, batch), None, self.temperature, left)
        attention = row_attention(batch)
        with FastLinear():
            routing = self._routing(batch)
            hidden = self.decoder(batch.tokens_BT, batch.positions_BT, attention, routing)
        hidden_Nd = hidden.flatten(0, 1).index_select(0, batch.predictors_N)
        return Predicted(hidden_Nd, self.decoder.output_weight, self.temperature, left)

    def _routing(self, batch: Batch) -> Routed | None:
        if self.decoder.config.experts is None:
            return None
        given = batch if self._scoring.replays_routing else replace(batch, experts_BTC=None)
        return Routed(given, self.decoder.config, self.routing_sums)

    def _logits(self, decoder: StockDecoder, batch: Batch) -> Tensor:
        """(N, V) by whatever the network makes of its last hidden states: scales, bounds and biases are its own."""
        if not batch.chains:
            raise ValueError(
                "rows of several sequences: a network of others would let them see each other"
            )
        width = batch.tokens_BT.shape[1]
        columns_C, at_N = torch.unique(batch.predictors_N % width, return_inverse=True)
        with FastLinear():
            logits_BCV = decoder.logits(batch.tokens_BT, columns_C)
        return logits_BCV[batch.predictors_N // width, at_N]
