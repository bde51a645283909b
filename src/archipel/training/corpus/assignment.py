"""Which windows a work takes: of (run's seed, version, index), for everybody the same.

    epoch e     the windows of each shard are permuted by (seed, e, shard) and cut into blocks of
                steps * batch (the rest is left out this epoch); all blocks are permuted by (seed, e)
    work (v, i) block number v * members + i, counted through epochs 0, 1, ...

Parts: `BlockTerms`, `Assignment`, `blocks_in`, `assignment`, `Exhausted`.
Laws: in an epoch no window is taken twice; a work's windows are of one shard; how many members there are
changes only which number a work has. Integers only: no array library, no chance.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from archipel.plurals import counted
from archipel.records.corpus import BadCorpus, CorpusManifest, Shard
from archipel.training.corpus.permutation import Permutation

_WINDOWS, _BLOCKS = 0, 1
"""What a permutation is of."""


class Exhausted(BadCorpus):
    """A run asks for more blocks than its corpus has."""


@dataclass(frozen=True)
class BlockTerms:
    """What a run says of its data; all positive."""

    sequence_length: int
    """Targets of a window, which has one token more."""
    steps: int
    """Inner steps of a work; a member that makes fewer takes the beginning of its block."""
    batch: int
    """Windows of an inner step."""
    members: int
    """Contributions to a version."""
    epochs: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} is {value}, expected at least 1")

    @property
    def block(self) -> int:
        """Windows of a block."""
        return self.steps * self.batch


@dataclass(frozen=True)
class Assignment:
    """What one work is trained on."""

    epoch: int
    shard: int
    """Its number in the manifest."""
    windows: tuple[int, ...]
    """Numbers of windows in the shard, in the order of training: `batch` of them a step."""


def blocks_of(shard: Shard, terms: BlockTerms) -> int:
    """Blocks of one shard in an epoch."""
    return shard.windows(terms.sequence_length) // terms.block


def blocks_in(manifest: CorpusManifest, terms: BlockTerms) -> int:
    """Blocks of all shards in an epoch."""
    return sum(blocks_of(shard, terms) for shard in manifest.shards)


def versions_in(manifest: CorpusManifest, terms: BlockTerms) -> int:
    """Outer steps whose every work has a block."""
    return blocks_in(manifest, terms) * terms.epochs // terms.members


def require_versions(manifest: CorpusManifest, terms: BlockTerms, versions: int) -> None:
    """Raises Exhausted: a run of so many outer steps needs more blocks than there are."""
    if versions > versions_in(manifest, terms):
        raise Exhausted(_words(manifest.shards, terms, versions * terms.members))


def assignment(
    shards: Sequence[Shard], terms: BlockTerms, seed: int, version: int, index: int
) -> Assignment:
    """What work (version, index) takes.

    shards: of the manifest, in its order. version: the one that the work begins at, from 0. index: 0 .. members-1.

    Raises:
        Exhausted: there is no such block.
        ValueError: no such work.
    """
    if version < 0 or not 0 <= index < terms.members:
        raise ValueError(f"work ({version}, {index}) is none of {terms.members} a version")
    number = version * terms.members + index
    blocks = [blocks_of(shard, terms) for shard in shards]
    total = sum(blocks)
    if number >= total * terms.epochs:
        raise Exhausted(_words(shards, terms, number + 1))
    epoch, place = divmod(number, total)
    ends = list(accumulate(blocks))
    drawn = Permutation(total, seed, (_BLOCKS, epoch))[place]
    shard = bisect_right(ends, drawn)
    block = drawn - (ends[shard] - blocks[shard])
    windows = Permutation(
        shards[shard].windows(terms.sequence_length), seed, (_WINDOWS, epoch, shard)
    )
    begin = block * terms.block
    return Assignment(epoch, shard, tuple(windows[begin + place] for place in range(terms.block)))


def _words(shards: Sequence[Shard], terms: BlockTerms, needed: int) -> str:
    total = sum(blocks_of(shard, terms) for shard in shards)
    if not total:
        longest = max((shard.windows(terms.sequence_length) for shard in shards), default=0)
        return (
            f"no shard has the {counted(terms.block, 'window')} of a block ({terms.steps} steps of {terms.batch}); "
            f"the longest has {longest}: make larger shards, take fewer steps or smaller batches, or a shorter sequence"
        )
    epochs = -(-needed // total)
    return (
        f"{counted(needed, 'block')} are needed, and there are {total * terms.epochs}: {total} in each of "
        f"{counted(terms.epochs, 'epoch')}; allow {counted(epochs, 'epoch')}, take fewer steps, or give more text"
    )
