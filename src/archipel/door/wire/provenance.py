"""Where a client says that a datum's tokens come from: spans that tile its input and its targets.

Law: what is said here is not believed yet; whoever keeps records of sequences holds it against them.
"""

from dataclasses import dataclass
from typing import Any

from archipel.door.wire import bounds
from archipel.door.wire.errors import Refused

MAX_PLACE = 2**31


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of a datum that are said to be some of a sampled sequence's, or of its prompt's."""

    sequence: str
    is_prompt: bool
    offset: int
    length: int


@dataclass(frozen=True)
class Provenance:
    """Of one datum: spans that tile its input, and spans that tile its targets."""

    inputs: tuple[Span, ...]
    targets: tuple[Span, ...]


def provenance_of(said: Any, length: int) -> Provenance | None:
    """What a datum of so many tokens says (`Datum`), or None: it says nothing.

    Raises:
        Refused: `impossible`: spans that do not tile it, or name no places; `too_large`.
    """
    if not said.model_input_spans and not said.loss_fn_input_spans:
        return None
    found = Provenance(_spans(said.model_input_spans), _spans(said.loss_fn_input_spans))
    for spans, name in ((found.inputs, "input"), (found.targets, "targets")):
        covered = sum(each.length for each in spans)
        if covered != length:
            raise Refused(
                "impossible",
                f"spans of provenance cover {covered} tokens of {length} of the {name}; they have to tile it",
            )
    return found


def _spans(said: Any) -> tuple[Span, ...]:
    if len(said) > bounds.MAX_SPANS:
        raise Refused("too_large", f"{len(said)} spans of provenance; at most {bounds.MAX_SPANS}")
    return tuple(map(_span, said))


def _span(said: Any) -> Span:
    arm = said.WhichOneof("span")
    found = said.sampled_tokens if arm == "sampled_tokens" else said.prompt_tokens
    if arm is None or not 0 < len(found.sequence_id) <= bounds.MAX_NAME_CHARACTERS:
        raise Refused("impossible", "a span of provenance without the id of a sequence; send it")
    if min(found.offset, found.length) < 0 or max(found.offset, found.length) > MAX_PLACE:
        raise Refused(
            "impossible",
            f"a span of provenance from {found.offset} of {found.length} tokens; expected places of a sequence",
        )
    return Span(found.sequence_id, arm == "prompt_tokens", found.offset, found.length)
