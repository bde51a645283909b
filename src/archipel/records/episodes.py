"""Episodes: several turns of a model with the answers of an environment between them, as one sequence.

Parts: `EpisodeTerms` (what whoever plays must know, in a run's pace), `PLAYED` (names of the environments
that nodes may play), `HOSTED` (those that answer at the trusted role, see `turns`), `turns_of` (a mask's turns), `check_masks`. A mask has a byte per token: 1 for one that
the model sampled, 0 for one that the environment wrote. Law: pure; a name once given means the same tasks and
answers for ever, which a test of the environments holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import Closed
from archipel.records.payload import BadPayload

MAX_TURNS = 64
"""Of the model, in one episode."""
MAX_PLAYED = 16
SAMPLED, WRITTEN = 1, 0

Played = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}-[0-9]{1,6}$")]
"""An environment and the version of its rules."""
PlayedNames = Annotated[tuple[Played, ...], Field(min_length=1, max_length=MAX_PLAYED)]
ToolFormat = Literal["auto", "hermes", "llama", "plain"]
ParameterName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
ParameterText = Annotated[str, Field(max_length=1024)]
ParameterValues = Annotated[dict[ParameterName, bool | int | ParameterText], Field(max_length=32)]

PLAYED: Mapping[str, str] = {"drawers": "drawers-1"}
"""`environment.name` -> the rules that this software plays it by."""
HOSTED = "hosted-1"
"""Rules of the episodes whose environment answers at the trusted role: turns are asked through the lab."""
HOSTABLE = ("guess", "python", "verifiers")
"""`environment.name` of those that can answer turns there: by a secret, or by code of their own."""
ALWAYS_HOSTED = ("guess",)
"""Of these, the ones that have nothing but episodes."""


def playable() -> tuple[str, ...]:
    """What a node of this software says that it plays."""
    return (*PLAYED.values(), HOSTED)


def check_answers(name: str, parameters: Mapping[str, object], *, has_episode: bool) -> None:
    """Whether an environment and a recipe's `[episode]` go together.

    Raises:
        ValueError: one without the other, or a setting that nodes cannot be told.
    """
    if not has_episode:
        if name in PLAYED or name in ALWAYS_HOSTED:
            raise ValueError(f"environment {name!r} answers the model's turns: add [episode]")
        return
    if name not in PLAYED and name not in HOSTABLE:
        raise ValueError(
            f"environment {name!r} answers no turns: remove [episode], or choose from "
            f"{', '.join((*PLAYED, *HOSTABLE))}"
        )
    floats = [key for key, value in parameters.items() if isinstance(value, float)]
    if name in PLAYED and floats:
        raise ValueError(f"environment.parameters.{floats[0]}: expected a text or an integer")


class UnevenMask(BadPayload):
    """Turns that no episode can have."""


class EpisodeTerms(Closed):
    """How a run's episodes are played, for nodes, which do not know its recipe."""

    environment: Played
    parameters: ParameterValues
    """The environment's own settings."""
    turns: Annotated[int, Field(ge=1, le=MAX_TURNS)]
    """Turns of the model at most."""
    tools: ToolFormat
    chat_template: Literal["auto", "always", "never"]
    """As in the recipe's `[prompt]`."""

    @property
    def is_hosted(self) -> bool:
        """Whether turns are asked through the lab."""
        return self.environment == HOSTED


def turns_of(sampled: bytes) -> list[tuple[int, int]]:
    """(start, end) of each turn of the model, in order."""
    turns, end = [], 0
    while (start := sampled.find(SAMPLED, end)) >= 0:
        end = sampled.find(WRITTEN, start)
        end = len(sampled) if end < 0 else end
        turns.append((start, end))
    return turns


def check_mask(
    sampled: bytes, tokens: Sequence[int], stops: Sequence[int], most_turns: int
) -> None:
    """Whether an episode's turns are possible: it begins and ends with the model, whose every turn but the
    last ends with a stop token, and none goes on after one.

    Raises:
        UnevenMask: they are not.
    """
    turns = turns_of(sampled)
    if not turns or turns[0][0] != 0 or turns[-1][1] != len(sampled):
        raise UnevenMask("an episode does not begin and end with a turn of the model")
    if len(turns) > most_turns:
        raise UnevenMask(f"an episode has {len(turns)} turns, the run allows {most_turns}")
    for start, end in turns:
        body = tokens[start : end - 1]
        if any(body.count(stop) for stop in stops):
            raise UnevenMask("a turn goes on after a stop token")
        if end < len(sampled) and tokens[end - 1] not in stops:
            raise UnevenMask("the environment answers a turn that has not ended")


def written_of(sampled: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of each answer of the environment, in order."""
    ends = [end for _, end in turns_of(sampled)]
    starts = [start for start, _ in turns_of(sampled)]
    yield from zip(ends, starts[1:], strict=False)
