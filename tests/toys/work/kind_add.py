"""Add work: the sum, and how it came about."""

from archipel.records.kinds.add import AddSpec

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
    return Kind(run=add, remembers=remembers_nothing, close=has_nothing_to_end, shared=False)


def add(spec: AddSpec, context: Context, progress: Progress) -> Answer:
    total = sum(spec.numbers)
    path = context.scratch / "working.txt"
    path.write_text(f"{' + '.join(map(str, spec.numbers))} = {total}")
    return Answer({"working": path}, {"total": total})
