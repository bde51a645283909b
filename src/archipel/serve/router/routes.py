"""What `archipel route train` writes and a router reads: a space and a topic for each specialist, in one JSON file.

Parts: `Routes`, `read_routes`, `write_routes`, `trained`, `with_topic`. Law: the file is closed and bounded, and refused for another base than its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from archipel.key_file import write_private
from archipel.records.document import BadDocument, read_document
from archipel.records.fields import Closed
from archipel.serve.cascade.heads import Floats
from archipel.serve.cascade.policy import MAX_WIDTH, Number
from archipel.serve.router.topics import MAX_DIMENSIONS, Space, Topic, fit_space, fit_topic

MAX_BYTES = 64 * 1024 * 1024
MAX_TOPICS = 1000
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Row = tuple[Number, ...]


class BadRoutes(ValueError):
    """No file that `archipel route train` wrote, or one for another base."""


class SpaceForm(Closed):
    """`topics.Space`."""

    mean: Annotated[Row, Field(min_length=1, max_length=MAX_WIDTH)]
    components: Annotated[tuple[Row, ...], Field(min_length=1, max_length=MAX_DIMENSIONS)]
    spreads: tuple[Positive, ...]
    rest: tuple[Number, Positive]

    def space(self) -> Space:
        """As it computes."""
        return Space(
            np.array(self.mean), np.array(self.components), np.array(self.spreads), self.rest
        )


class TopicForm(Closed):
    """`topics.Topic`."""

    name: Annotated[str, Field(pattern=r"^[\w.:/-]{1,100}$")]
    mean: Row
    root: tuple[Row, ...]
    reach: Positive
    examples: Annotated[int, Field(ge=1)]
    """That it was fitted on."""

    def topic(self) -> Topic:
        """As it computes."""
        return Topic(self.name, np.array(self.mean), np.array(self.root), self.reach)


class Routes(Closed):
    """Who knows what."""

    archipel_routes: Literal[1] = 1
    base: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the base model's directory."""
    space: SpaceForm
    topics: Annotated[tuple[TopicForm, ...], Field(max_length=MAX_TOPICS)]

    @model_validator(mode="after")
    def _fits(self) -> "Routes":
        width, count = len(self.space.mean), len(self.space.components)
        if len(self.space.spreads) != count or any(
            len(row) != width for row in self.space.components
        ):
            raise ValueError(
                "the space's components are not of one width, or not as many as its spreads"
            )
        for topic in self.topics:
            shapes = [len(topic.mean), len(topic.root), *map(len, topic.root)]
            if set(shapes) != {count + 1}:
                raise ValueError(f"topic {topic.name}: expected {count + 1} coordinates")
            if any(topic.root[n][n] == 0 for n in range(count + 1)):
                raise ValueError(f"topic {topic.name}: its root has no inverse")
        if len({topic.name for topic in self.topics}) < len(self.topics):
            raise ValueError("two topics have one name")
        return self


def trained(base: str, examples: Mapping[str, Floats], background: Floats | None = None) -> Routes:
    """Routes of new topics, by hidden states (N, d) of each one's questions.

    base: digest of the base model's directory. background: states of questions of all kinds; None: those of all topics.

    Raises:
        TooFewExamples: of a topic.
    """
    pooled = np.concatenate(list(examples.values())) if background is None else background
    space = fit_space(pooled)
    form = SpaceForm(
        mean=_row(space.mean),
        components=tuple(map(_row, space.components)),
        spreads=_row(space.spreads),
        rest=space.rest,
    )
    routes = Routes(base=base, space=form, topics=())
    for name, hidden in examples.items():
        routes = with_topic(routes, name, hidden)
    return routes


def with_topic(routes: Routes, name: str, hidden: Floats) -> Routes:
    """The same and one more topic, or one of that name anew; no other is touched.

    Raises:
        TooFewExamples: of it.
    """
    topic = fit_topic(name, routes.space.space(), hidden)
    form = TopicForm(
        name=name,
        mean=_row(topic.mean),
        root=tuple(map(_row, topic.root)),
        reach=topic.reach,
        examples=len(hidden),
    )
    others = tuple(each for each in routes.topics if each.name != name)
    return Routes(base=routes.base, space=routes.space, topics=(*others, form))


def read_routes(path: Path, base: str, width: int) -> Routes:
    """The file. base: digest of the base model's directory; width: of its hidden states.

    Raises:
        BadRoutes: see there. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        found = parse_routes(file.read(MAX_BYTES + 1), str(path))
    if found.base != base or len(found.space.mean) != width:
        raise BadRoutes(
            f"{path} was trained over the base {found.base[:12]}, this one is {base[:12]}; train again with archipel route "
            "train"
        )
    return found


def parse_routes(data: bytes, name: str) -> Routes:
    """Raises BadRoutes."""
    if len(data) > MAX_BYTES:
        raise BadRoutes(f"{name} is larger than {MAX_BYTES} bytes; expected a router's routes")
    try:
        return read_document(Routes, data)
    except BadDocument as error:
        raise BadRoutes(
            f"{name} holds no routes: {error}; write them with archipel route train"
        ) from None


def write_routes(path: Path, routes: Routes) -> None:
    """Whole or not at all."""
    write_private(path, routes.model_dump_json().encode() + b"\n", anew=True)


def topics_of(routes: Routes) -> tuple[Topic, ...]:
    """As they compute."""
    return tuple(each.topic() for each in routes.topics)


def _row(values: Floats) -> tuple[float, ...]:
    return tuple(float(each) for each in values)
