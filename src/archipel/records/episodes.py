"""Episodes: several turns of a model with the answers of an environment between them, as one sequence.

Parts: `EpisodeTerms` (what whoever plays must know, in a run's pace), `PLAYED` (names of the environments
that nodes may play), `HOSTED` (those that answer at the trusted role, see `turns`), `turns_of` (a mask's turns),
`check_mask`. A mask has a byte per token: 1 for one that the model sampled, 0 for one that the environment wrote, 2
for one of a context told anew, at which a new sample begins (`samples`). Law: pure; a name once given means the same
tasks and answers for ever, which a test of the environments holds.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import LeftOut, Sparing
from archipel.records.payload import BadPayload

MAX_TURNS = 64
"""Of the model, in one episode."""
MAX_PLAYED = 16
MAX_SYSTEM_CHARACTERS = 16_384
SAMPLED, WRITTEN, RETOLD = 1, 0, 2
_SAMPLED_OR_NOT = bytes([WRITTEN, SAMPLED]) + bytes(254)

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


class EpisodeTerms(Sparing):
    """How a run's episodes are played, for nodes, which do not know its recipe."""

    environment: Played
    parameters: ParameterValues
    """The environment's own settings."""
    turns: Annotated[int, Field(ge=1, le=MAX_TURNS)]
    """Turns of the model at most."""
    tools: ToolFormat
    chat_template: Literal["auto", "always", "never"]
    """As in the recipe's `[prompt]`."""
    retells: Annotated[Literal[True] | None, LeftOut] = None
    """Where the chat template changes what was said before, a new sample begins with all of it told anew; None: such
    templates are refused."""
    system: Annotated[str | None, Field(max_length=MAX_SYSTEM_CHARACTERS), LeftOut] = None
    """Of runs that retell, as `date`: what the template is told beside the turns, as in the recipe's `[prompt]`."""
    date: Annotated[str | None, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), LeftOut] = None

    chooses: Annotated[Literal[True] | None, LeftOut] = None
    """Prompts say which task each group has; None: the one of its own number."""

    @property
    def is_hosted(self) -> bool:
        """Whether turns are asked through the lab."""
        return self.environment == HOSTED


def turns_of(sampled: bytes) -> list[tuple[int, int]]:
    """(start, end) of each turn of the model, in order."""
    own, turns, end = sampled.translate(_SAMPLED_OR_NOT), [], 0
    while (start := own.find(SAMPLED, end)) >= 0:
        end = own.find(WRITTEN, start)
        end = len(own) if end < 0 else end
        turns.append((start, end))
    return turns


def check_mask(
    sampled: bytes,
    tokens: Sequence[int],
    stops: Sequence[int],
    most_turns: int,
    *,
    retells: bool = False,
) -> None:
    """Whether an episode's turns are possible: it begins and ends with the model, whose every turn but the
    last ends with a stop token, and none goes on after one; what stands between two is an answer or a context told
    anew, not both.

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
    if RETOLD not in sampled:
        return
    if not retells:
        raise UnevenMask("a context is told anew, and this run's never are")
    for start, end in written_of(sampled):
        if sampled.count(sampled[start], start, end) != end - start:
            raise UnevenMask("an answer goes on as a context told anew, or the other way round")


def written_of(sampled: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of what stands between the model's turns, in order."""
    turns = turns_of(sampled)
    yield from zip([end for _, end in turns], [start for start, _ in turns[1:]], strict=False)
