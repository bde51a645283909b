"""What a run's completions may say and which words end them: stop strings and allowed characters of one tokenizer.

Parts: `Wording` (on a request, as a text for the grader, as a rule that anybody checks), `wording_of`. Law: what a
rollout's tokens say of its end is computed here again by whoever grades; a node can neither cut a completion
early, nor go on after its end, nor say what was not allowed: such a rollout is void.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from archipel.model.pieces import NoPieces, Pieces
from archipel.model.stop_strings import StopStrings
from archipel.model.tokenizer import Tokenizer
from archipel.records.episodes import SAMPLED
from archipel.records.recipe import Recipe
from archipel.records.requests import Allowed, Request
from archipel.records.rollouts import Rollout

__all__ = ["NoPieces", "Wording", "never_written", "text_of", "wording_of", "wording_of_recipe"]


@dataclass(frozen=True, eq=False)
class Wording:
    """Of one run or request."""

    stops: StopStrings | None
    allowed: Allowed | None
    stop_tokens: tuple[int, ...]
    """What ends a completion beside words."""

    def on(self, request: Request) -> Request:
        """The same request, which ends at a stop string and says what is allowed."""
        return replace(request, ending=self.stops, allowed=self.allowed)

    def fault(self, rollout: Rollout) -> str:
        """Why this cannot have been sampled as it was asked; nothing where it can.

        That stop tokens and length end it, `records.rollouts` has seen to.
        """
        tokens, mask = rollout.tokens, rollout.sampled
        if self.allowed is not None:
            pairs = zip(tokens, mask or bytes([SAMPLED]) * len(tokens), strict=True)
            said = [token for token, is_sampled in pairs if is_sampled == SAMPLED]
            if not self.allowed.tokens.issuperset(said):
                return "a token that is not allowed"
        if self.stops is None:
            return ""
        end = self.stops.end_of(tokens)
        if end is not None and end < len(tokens):
            return "more after a stop string"
        if rollout.finished != (end is not None or tokens[-1] in self.stop_tokens):
            return "an end without a reason" if rollout.finished else "no end at a stop string"
        return ""


def text_of(tokenizer: Tokenizer, rollout: Rollout, wording: Wording | None) -> str:
    """What a completion says, without the stop string that ended it and what its token wrote after that."""
    whole = tokenizer.decode(rollout.tokens)
    if wording is None or wording.stops is None or not rollout.finished:
        return whole
    return wording.stops.text(rollout.tokens, whole)


def wording_of_recipe(recipe: Recipe, tokenizer: Tokenizer) -> Wording | None:
    """What `[sampling]` says; None: completions may say anything, and tokens alone end them.

    Raises:
        NoPieces: not with this tokenizer.
    """
    return wording_of(recipe.sampling.stop, recipe.sampling.allowed, tokenizer)


@lru_cache(8)
def wording_of(stop: tuple[str, ...], allowed: str, tokenizer: Tokenizer) -> Wording | None:
    """stop: the texts that end a completion. allowed: all its characters; empty: any.

    Raises:
        NoPieces: this tokenizer does not put tokens side by side, or has none for an allowed character.
    """
    if not stop and not allowed:
        return None
    pieces = tokenizer.pieces
    return Wording(
        StopStrings.of(stop, pieces) if stop else None,
        _allowed(allowed, pieces, tokenizer.stop_ids) if allowed else None,
        tokenizer.stop_ids,
    )


def never_written(stop: Sequence[str], tokenizer: Tokenizer) -> str:
    """Of a stop string with a character that no tokens write, a sentence; nothing where every one may come.

    Raises:
        NoPieces: this tokenizer does not put tokens side by side.
    """
    known = frozenset(b"".join(tokenizer.pieces)) if stop else frozenset()
    for text in stop:
        for character in text:
            if not known.issuperset(character.encode()):
                return (
                    f"sampling.stop: {text!r:.80} has {character!r}, which no token of this model's vocabulary writes, so "
                    "that nothing can ever end there; remove it"
                )
    return ""


def _allowed(characters: str, pieces: Pieces, ends: Sequence[int]) -> Allowed:
    """Tokens that write whole characters, all of them among these; and what ends a completion."""
    known, found = frozenset(characters), set[int]()
    singles = set[str]()
    for token, piece in enumerate(pieces):
        text = piece.decode("utf-8", "replace")
        if text and known.issuperset(text):
            found.add(token)
            singles |= {text} if len(text) == 1 else set()
    if missing := sorted(known - singles):
        raise NoPieces(
            f"sampling.allowed has {missing[0]!r}, for which this model's vocabulary has no token of its own; leave "
            "it out"
        )
    return Allowed(frozenset(found | set(ends)))
