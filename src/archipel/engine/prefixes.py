"""Keys and values of prompts' beginnings, kept for later prompts that begin alike.

Parts: `Chain` (the names of one prompt's blocks), `Prefixes` (what is held under them, as far as memory goes).
A block's name is a digest of the block before it and of its own tokens; the first one's, of whose it is: salt,
adapter, number of threads. The form is vLLM's (docs/design/prefix_caching.md); what is longest unused goes first,
a prompt's end before its beginning.
Laws: only whole blocks are held, and their bits are those of reading them again; a hit is a name and equal tokens
and the same owner; requests without a salt share with nobody; memory only, and gone with the weights.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from archipel.engine.cache import Window

Owner = tuple[str, int, int]
"""(salt, number of the adapter, threads): what blocks must have alike beside their tokens."""


@dataclass(frozen=True)
class _Held:
    """One block."""

    owner: Owner
    tokens: tuple[int, ...]
    layers: tuple[Window, ...]
    """Of each layer the planes of one slot, as `Cache.laid` has them."""

    @property
    def num_bytes(self) -> int:
        return sum(plane.nbytes for planes in self.layers for plane in planes)


class Chain:
    """The blocks of one prompt, by name."""

    def __init__(self, salt: str, adapter: int, tokens: tuple[int, ...], block: int) -> None:
        self.owner: Owner = (salt, adapter, torch.get_num_threads())
        self.tokens, self.block = tokens, block
        root = hashlib.blake2b(repr(self.owner).encode(), digest_size=32).digest()
        self._names = [root]

    def of(self, place: int) -> tuple[int, ...]:
        """The tokens of block `place`."""
        return self.tokens[place * self.block : (place + 1) * self.block]

    def name(self, place: int) -> bytes:
        """Of block `place`."""
        while len(self._names) <= place + 1:
            tokens = np.array(self.of(len(self._names) - 1), dtype="<i8").tobytes()
            digest = hashlib.blake2b(self._names[-1] + tokens, digest_size=32).digest()
            self._names.append(digest)
        return self._names[place + 1]

    @property
    def shareable(self) -> int:
        """Blocks that need not be read where they are held: all but what the last token lies in."""
        return (len(self.tokens) - 1) // self.block


class Prefixes:
    """Blocks by name, the longest unused first."""

    def __init__(self) -> None:
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._limit = 0
        self.num_bytes = 0
        """Held now."""

    def __len__(self) -> int:
        return len(self._held)

    def find(self, chain: Chain, place: int) -> tuple[Window, ...] | None:
        """What is held of block `place` of a prompt; None: it must be read."""
        if place >= chain.shareable:
            return None
        held = self._held.get(chain.name(place))
        if held is None or held.owner != chain.owner or held.tokens != chain.of(place):
            return None
        return held.layers

    def keep(self, chain: Chain, place: int, layers: Sequence[Window]) -> None:
        """Hold block `place` of a prompt, if there is room for it and what comes before it is held."""
        if place and chain.name(place - 1) not in self._held:
            return
        held = _Held(chain.owner, chain.of(place), tuple(layers))
        self._drop(chain.name(place))
        if self._make_room(held.num_bytes, {chain.name(each) for each in range(place)}):
            self._held[chain.name(place)] = held
            self.num_bytes += held.num_bytes

    def touch(self, chain: Chain) -> None:
        """A prompt has been read: its blocks were used just now, the first ones last."""
        whole = len(chain.tokens) // chain.block
        for place in reversed(range(whole)):
            if chain.name(place) in self._held:
                self._held.move_to_end(chain.name(place))

    def bound(self, num_bytes: int) -> None:
        """Hold at most this from now on."""
        self._limit = num_bytes
        self._shrink()

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self.num_bytes = 0

    def _make_room(self, num_bytes: int, spared: set[bytes]) -> bool:
        """Whether so much more may be held now that others, but for these, may have gone."""
        for name in list(self._held) if self.num_bytes + num_bytes > self._limit else ():
            if name not in spared:
                self._drop(name)
            if self.num_bytes + num_bytes <= self._limit:
                break
        return self.num_bytes + num_bytes <= self._limit

    def _shrink(self) -> None:
        while self.num_bytes > self._limit:
            self._drop(next(iter(self._held)))

    def _drop(self, name: bytes) -> None:
        held = self._held.pop(name, None)
        if held is not None:
            self.num_bytes -= held.num_bytes
