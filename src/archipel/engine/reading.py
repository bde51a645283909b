"""Read texts without sampling: what the network makes of one, and how likely it finds what might follow.

Parts: `Reading` (one text, a block at a time), `Follows` (what might follow it, as a tree), `TextLayers` (what it goes
through; some of the layers, where others are elsewhere). Each has a cache of its
own, so nothing that the engine generates knows of it. Laws: what is read follows from the text alone; continuations that
begin alike are read once as far as they do.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from archipel.engine.adapters import NONE
from archipel.engine.attention import round_up, window_granule
from archipel.engine.cache import Cache, CacheShape
from archipel.engine.capacity import Capacity
from archipel.engine.machinery import Network
from archipel.engine.protocol import NonFiniteLogits
from archipel.records.requests import InvalidRequest

BLOCK = 256
"""Tokens that are read at a time; whoever reads between the steps of others goes on to the next one later."""

Beginning = tuple[int, ...]
Scores = tuple[tuple[float, ...], ...]


class Decoder(Network, Protocol):
    """A network that also gives its last hidden state."""

    @property
    def num_layers(self) -> int:
        """That it has here."""

    def read(self, x_Nd: Tensor) -> Tensor:
        """See `FusedEnds.read`."""


class Follows:
    """What might follow a text: a tree, whose nodes are the beginnings that some of it has."""

    def __init__(self, continuations: Sequence[Sequence[int]]) -> None:
        self.continuations = [tuple(each) for each in continuations]
        self.nodes: dict[Beginning, int] = {}
        """Beginning -> its place; one comes after all its own beginnings. What only ends something is none."""
        self.wanted: dict[Beginning, list[int]] = {(): []}
        """Beginning -> the tokens that go on from there."""
        for each in self.continuations:
            for end, token in enumerate(each):
                if end:
                    self.nodes.setdefault(each[:end], len(self.nodes))
                self.wanted.setdefault(each[:end], []).append(token)

    def seen(self, block: Sequence[Beginning], after: int, window: int) -> np.ndarray:
        """(n, window): the text of `after` tokens, and of the tree's each one's own beginnings."""
        seen = np.zeros((len(block), window), dtype=bool)
        seen[:, :after] = True
        for row, node in enumerate(block):
            for end in range(1, len(node) + 1):
                seen[row, after + self.nodes[node[:end]]] = True
        return seen


def check_text(capacity: Capacity, tokens: Sequence[int], follows: Follows) -> None:
    """Refuse what this model and cache can never read.

    Raises:
        InvalidRequest: empty, a token outside the vocabulary, or longer than they allow.
    """
    if not tokens:
        raise InvalidRequest("the text has no token; expected one at least")
    total = len(tokens) + len(follows.nodes)
    if total > capacity.longest:
        raise InvalidRequest(
            f"a text of {total} tokens, what may follow included; expected at most {capacity.longest}: shorten it"
        )
    vocabulary = capacity.arithmetic.config.vocab_size
    for token in itertools.chain(tokens, *follows.continuations):
        if not 0 <= token < vocabulary:
            raise InvalidRequest(
                f"a token {token} is outside 0..{vocabulary - 1}; encode the text with this model's tokenizer"
            )


def shape_of(decoder: Network, num_layers: int, total: int) -> CacheShape:
    """Of the cache for one text of so many tokens."""
    config = decoder.config
    granule = window_granule(config.head_dim, config.num_heads // config.num_kv_heads)
    planes = decoder.arithmetic.planes
    return CacheShape(num_layers, 1, config.num_kv_heads, planes, round_up(total, granule))


class TextLayers:
    """Layers that one text goes through alone."""

    def __init__(self, decoder: Network, num_layers: int, total: int) -> None:
        """num_layers: that the decoder has here; total: tokens of the text and of what may follow it."""
        config, numbers = decoder.config, decoder.arithmetic
        self._decoder = decoder
        self._group = config.num_heads // config.num_kv_heads
        self._granule = window_granule(config.head_dim, self._group)
        shape = shape_of(decoder, num_layers, total)
        length = shape.length
        self._cache = Cache(shape, numbers.device)
        self._rotations = numbers.rotations(length)
        self._slot = torch.zeros(1, dtype=torch.int64, device=numbers.device)
        self.num_read = 0
        self.num_bytes = shape.bytes_per_slot
        """Of its cache."""

    def window(self, length: int) -> int:
        """Positions that are looked at where there are `length`."""
        return round_up(length, self._granule)

    def next(self, tokens: Sequence[int], adapter: int = NONE) -> Tensor:
        """`rows` of the next tokens of the text itself, each of which looks at all before it."""
        places = np.arange(self.num_read, self.num_read + len(tokens))
        seen = np.arange(self.window(self.num_read + len(tokens))) <= places[:, None]
        return self.rows(tokens, places, seen, adapter)

    def rows(
        self, tokens: Sequence[int], positions: np.ndarray, seen: np.ndarray, adapter: int = NONE
    ) -> Tensor:
        """Residual stream (at least as many, d) of tokens that are read behind what was read.

        positions: (n,), where each stands. seen: (n, window) which of what is read, and of these, each may look at.
        adapter: its number among the decoder's.
        """
        decoder, device = self._decoder, self._decoder.arithmetic.device
        start, count = self.num_read, len(tokens)
        wanted = np.minimum(np.arange(max(count, decoder.arithmetic.min_rows())), count - 1)
        bias = torch.zeros(seen.shape, dtype=decoder.arithmetic.dtype)
        bias.masked_fill_(torch.from_numpy(~seen), -torch.inf)
        bias = bias[wanted].to(device).repeat_interleave(self._group, dim=0).unsqueeze(0)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._keep(layer, k[:count], v[:count], start)
            return self._attend(layer, q, bias)

        x = decoder.forward(
            torch.tensor(tokens)[wanted].to(device),
            self._rotations.index_select(0, torch.from_numpy(positions[wanted]).to(device)),
            attend,
            company=decoder.adapters.company(np.full(len(wanted), adapter)),
        )
        self.num_read += count
        return x

    def _keep(self, layer: int, k: Tensor, v: Tensor, start: int) -> None:
        held = self._decoder.arithmetic.held(k.unsqueeze(0), v.unsqueeze(0))
        self._cache.write(layer, self._cache.laid(held), self._slot, self._slot, start)

    def _attend(self, layer: int, q: Tensor, bias: Tensor) -> Tensor:
        rows, heads, dim = q.shape
        groups = q.reshape(rows, heads // self._group, self._group, dim).transpose(0, 1)
        window = self._cache.window(layer, 0, 1, bias.shape[-1])
        by_head = groups.reshape(heads // self._group, rows * self._group, dim)
        mixed = self._decoder.arithmetic.attend(by_head, window, bias)
        mixed = mixed.view(heads // self._group, rows, self._group, dim).transpose(0, 1)
        return mixed.reshape(rows, heads * dim)


class Reading:
    """One text that is being read."""

    def __init__(
        self,
        decoder: Decoder,
        tokens: Sequence[int],
        adapter: int = NONE,
        follows: Follows | None = None,
    ) -> None:
        """adapter: its number among the decoder's."""
        self._decoder, self._tokens, self._adapter = decoder, tuple(tokens), adapter
        self._follows = follows or Follows(())
        total = len(tokens) + len(self._follows.nodes)
        self._layers = TextLayers(decoder, decoder.num_layers, total)
        self._sum = torch.zeros(decoder.config.hidden_size, dtype=torch.float64)
        self._last = torch.empty(0)

    @property
    def is_whole(self) -> bool:
        """Whether all of the text is read."""
        return self._layers.num_read >= len(self._tokens)

    @torch.inference_mode()
    def step(self) -> bool:
        """Read the next block; whether there is another."""
        if not self.is_whole:
            start = self._layers.num_read
            tokens = self._tokens[start : start + BLOCK]
            x = self._layers.next(tokens, self._adapter)
            read = self._decoder.read(x)[: len(tokens)]
            self._sum += read.double().sum(dim=0).cpu()
            self._last = x[len(tokens) - 1 :]
        return not self.is_whole

    @property
    def mean(self) -> Tensor:
        """(d,) fp32: of the last hidden states after the final norm, over all positions of the text."""
        found = (self._sum / len(self._tokens)).float()
        if not found.isfinite().all():
            raise NonFiniteLogits(
                "what was read is no finite number; expected sound weights: check those that were loaded"
            )
        return found

    @torch.inference_mode()
    def scores(self) -> Scores:
        """Log-probability in nats of each token of whatever might follow, at temperature 1, once the text is whole.

        Raises:
            NonFiniteLogits: the weights are broken.
        """
        follows, after = self._follows, len(self._tokens)
        told = self._told(self._last, [()])
        nodes = list(follows.nodes)
        for start in range(0, len(nodes), BLOCK):
            block = nodes[start : start + BLOCK]
            places = np.array([after + len(node) - 1 for node in block])
            window = self._layers.window(after + start + len(block))
            seen = follows.seen(block, after, window)
            told |= self._told(
                self._layers.rows([node[-1] for node in block], places, seen, self._adapter), block
            )
        return tuple(
            tuple(told[each[:at], token] for at, token in enumerate(each))
            for each in follows.continuations
        )

    def _told(self, x: Tensor, block: Sequence[Beginning]) -> dict[tuple[Beginning, int], float]:
        """Log-probabilities of what goes on from each of these beginnings, of which x has the rows."""
        company = self._decoder.adapters.company(np.full(len(x), self._adapter))
        logits = self._decoder.logits(x, company=company)
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        told: dict[tuple[Beginning, int], float] = {}
        for row, node in enumerate(block):
            tokens = self._follows.wanted.get(node, [])
            found = logprobs[row, torch.tensor(tokens, dtype=torch.int64, device=x.device)].tolist()
            told |= {(node, token): each for token, each in zip(tokens, found, strict=True)}
        if not all(map(math.isfinite, told.values())):
            raise NonFiniteLogits(
                "a log-probability is not finite; expected finite logits: check the weights that were loaded"
            )
        return told
