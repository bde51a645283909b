"""Windows of a shard as arrays, with the documents that their tokens belong to.

Parts: `Windows`, `windows_of`, `batches`.
A network takes them as it takes packed rows: `model(inputs, positions, packed_attention(segments))`, after
`torch.from_numpy` of each; only targets where `counts` is true are learned.
Laws: no token is predicted from another document, and none attends to one; a window says of each token what it
would say of it alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from archipel.records.corpus import BadCorpus
from archipel.training.corpus.shard import TokenShard


@dataclass(frozen=True)
class Windows:
    """B windows of L + 1 tokens."""

    tokens: np.ndarray
    """int32 [B, L + 1]."""
    documents: np.ndarray
    """int32 [B, L + 1]: number of the document in its window, from 0."""

    @property
    def inputs(self) -> np.ndarray:
        """int64 [B, L]: what the network reads."""
        return self.tokens[:, :-1].astype(np.int64)

    @property
    def targets(self) -> np.ndarray:
        """int64 [B, L]: what comes next."""
        return self.tokens[:, 1:].astype(np.int64)

    @property
    def segments(self) -> np.ndarray:
        """int64 [B, L]: an input attends to those before it with the same number."""
        return self.documents[:, :-1].astype(np.int64)

    @cached_property
    def positions(self) -> np.ndarray:
        """int64 [B, L]: of each input, counted from where its document begins in the window."""
        length = self.documents.shape[1] - 1
        places_L = np.arange(length, dtype=np.int64)
        begins_BL = np.ones((len(self.documents), length), dtype=bool)
        begins_BL[:, 1:] = self.documents[:, 1:-1] != self.documents[:, :-2]
        first_BL = np.maximum.accumulate(np.where(begins_BL, places_L, 0), axis=1)
        return places_L - first_BL

    @property
    def counts(self) -> np.ndarray:
        """Whether the target is of the document that its input is of: bool [B, L]."""
        same: np.ndarray = self.documents[:, 1:] == self.documents[:, :-1]
        return same


def windows_of(shard: TokenShard, numbers: Sequence[int], sequence_length: int) -> Windows:
    """The windows with these numbers, in this order.

    Raises:
        BadCorpus: the shard has no window of such a number.
    """
    chosen = np.asarray(numbers, dtype=np.int64)
    there = (len(shard.tokens) - 1) // sequence_length
    if len(chosen) == 0 or int(chosen.min()) < 0 or int(chosen.max()) >= there:
        raise BadCorpus(
            f"windows {list(numbers)[:4]} of {sequence_length} + 1 tokens, where the shard has {there}; "
            "its manifest is of another corpus"
        )
    places = chosen[:, None] * sequence_length + np.arange(sequence_length + 1, dtype=np.int64)
    documents = np.searchsorted(shard.ends, places.astype(np.uint64), side="right")
    return Windows(
        shard.tokens[places].astype(np.int32), (documents - documents[:, :1]).astype(np.int32)
    )


def batches(
    shard: TokenShard, windows: Sequence[int], sequence_length: int, batch: int
) -> Iterator[Windows]:
    """An assignment's windows, `batch` a step; a rest that fills no batch is left out. Raises BadCorpus."""
    for begin in range(0, len(windows) - batch + 1, batch):
        yield windows_of(shard, windows[begin : begin + batch], sequence_length)
