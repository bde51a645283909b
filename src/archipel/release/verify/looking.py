"""All steps of a verification, in order."""

from collections.abc import Callable, Sequence
from pathlib import Path

from archipel.release.verify.files import (
    look_again,
    look_at_digests,
    look_at_paths,
    look_at_signature,
)
from archipel.release.verify.ledger import look_at_transitions, look_at_tree
from archipel.release.verify.licences import look_at_licences
from archipel.release.verify.report import Expected, Looked, Report, Tell
from archipel.release.verify.weights import look_at_chain, look_at_last
from archipel.release.weights.delta import Decode
from archipel.release.weights.difference import decoded

Look = Callable[[Looked], None]
LOOKS: tuple[Look, ...] = (
    look_at_paths,
    look_at_signature,
    look_at_digests,
    look_at_tree,
    look_at_transitions,
    look_at_last,
    look_at_chain,
    look_at_licences,
)
NEVER_SHOWN = (
    "that updates, rewards and evaluations come out so again: `archipel release rebuild` makes them again",
    "that tokens were sampled from the weights that they name, but for what audits in the ledger looked at",
    "what only its owner says: title, licences, parents, and the words of its papers",
    "the class that it gives itself: `archipel release openness` computes it from the bytes",
    "what was never written into the ledger: where data came from before, who stands behind a key",
)


def verify(folder: Path, expected: Expected, tell: Tell, decode: Decode = decoded) -> Report:
    """1 index and paths  2 signature  3 digests  4 tree  5 transitions  6 last weights  7 versions  8 licences
    9 what is not shown.

    decode: of blocks of deltas, where there is something quicker than plain Python.

    Raises:
        NoBundle: the folder is no release at all. OSError: it cannot be read.
    """
    looked = looked_through(folder, expected, tell, decode=decode)
    look_again(looked)
    _say_what_is_not_shown(looked)
    return Report(folder, looked.index, looked.signer, tuple(looked.steps))


def looked_through(
    folder: Path,
    expected: Expected,
    tell: Tell,
    looks: Sequence[Look] = LOOKS,
    decode: Decode = decoded,
) -> Looked:
    """The steps of `verify` but for the last, and what they found for whoever goes on from there.

    looks: which of them, in their order; without `look_at_chain` for whoever applies every delta himself. decode: as of
    `verify`.

    Raises:
        NoBundle: the folder is no release at all. OSError: it cannot be read.
    """
    looked = Looked(folder, expected, tell, decode)
    for look in looks:
        look(looked)
    return looked


def _say_what_is_not_shown(looked: Looked) -> None:
    step = looked.step("what is not shown")
    for each in looked.steps[:-1]:
        step.unshown += each.unshown
    if looked.index is not None:
        step.unshown += [f"not in it: {line}" for line in looked.index.missing]
    step.unshown += NEVER_SHOWN
