"""Greet work: hello."""

from archipel.records.kinds.greet import GreetSpec

from archipel.work.kind import (
    Answer,
    Context,
    EngineChoice,
    Kind,
    Progress,
    has_nothing_to_end,
    remembers_nothing,
)


def make(choice: EngineChoice) -> Kind:
    return Kind(run=greet, remembers=remembers_nothing, close=has_nothing_to_end, shared=False)


def greet(spec: GreetSpec, context: Context, progress: Progress) -> Answer:
    return Answer({}, {"said": f"hello {spec.run}"})
