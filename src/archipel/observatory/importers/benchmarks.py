"""A table of models with a day, a column that says open or closed, and a column for each benchmark.

The form of Epoch AI's open-model-trends. Law: a column is a benchmark only if the table below lists it, with its unit:
a share stands between 0 and 1. "Open" means there that weights can be fetched, under whatever terms.
"""

from dataclasses import dataclass
from typing import BinaryIO, Final

from archipel.observatory.importers.cells import BadCell, day, micro, whole
from archipel.observatory.importers.lines import Column, Line, read_table
from archipel.observatory.importers.taking import Taking
from archipel.observatory.rows import UNKNOWN

COLUMNS: Final = {
    "model": Column(("System", "Model", "Model name", "Name"), is_needed=True),
    "date": Column(("Date", "Release date", "Publication date"), is_needed=True),
    "open": Column(("Open/Closed", "Open?", "Open", "Model accessibility"), is_needed=True),
    "parameters": Column(("Model size (parameters)", "Parameters")),
}
ACCESS: Final = {
    **dict.fromkeys(("open", "yes", "true", "1"), "open"),
    **dict.fromkeys(("closed", "no", "false", "0"), "closed"),
    "": UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A column of scores."""

    word: str
    is_share: bool = True


BENCHMARKS: Final = {
    "MMLU": Benchmark("mmlu"),
    "HELM MMLU": Benchmark("helm_mmlu"),
    "MMLU-Pro": Benchmark("mmlu_pro"),
    "GPQA": Benchmark("gpqa"),
    "GPQA Diamond": Benchmark("gpqa_diamond"),
    "BBH": Benchmark("bbh"),
    "GSM8K": Benchmark("gsm8k"),
    "GSM1k": Benchmark("gsm1k"),
    "MATH": Benchmark("math"),
    "HumanEval": Benchmark("humaneval"),
    "SEAL Instruction Following": Benchmark("seal_instructions"),
    "SEAL Math": Benchmark("seal_math"),
    "SEAL Coding": Benchmark("seal_coding", is_share=False),
    "LMSys Elo": Benchmark("lmsys_elo", is_share=False),
}
_SHARE = 1_000_000


def take(file: BinaryIO, taking: Taking) -> None:
    """Take in the table in `file`.

    Raises:
        BadTable: it is none; TooStrict: a line or cell was refused, and none may be.
    """
    table = read_table(file, COLUMNS, {name: each.word for name, each in BENCHMARKS.items()})
    taking.unused = table.unused
    there = [each for name, each in BENCHMARKS.items() if name in table.header]
    for line in table.lines:
        taking.counted["lines"] += 1
        place = f"line {line.number}"
        try:
            model = _model(line, place, taking)
        except BadCell as error:
            taking.refuse(place, str(error))
            continue
        if model is not None:
            for benchmark in there:
                _score(line, benchmark, model, place, taking)


def _model(line: Line, place: str, taking: Taking) -> str | None:
    if line.why_not:
        raise BadCell(line.why_not)
    said, params = line.get("open").lower(), line.get("parameters")
    if said not in ACCESS:
        raise BadCell(f"{line.get('open')!r:.60} where open or closed was expected")
    return taking.model(
        line.get("model"),
        place,
        released=day(line.get("date"), taking.day),
        access=ACCESS[said],
        params=whole(params) if params else UNKNOWN,
    )


def _score(line: Line, benchmark: Benchmark, model: str, place: str, taking: Taking) -> None:
    text, cell = line.get(benchmark.word), f"{place}, {benchmark.word}"
    if not text:
        return
    try:
        score = micro(text)
    except BadCell as error:
        taking.refuse(cell, str(error))
        return
    if benchmark.is_share and not 0 <= score <= _SHARE:
        taking.refuse(cell, f"{text!r:.40} is no share between 0 and 1; write 86.4% as 0.864")
        return
    taking.about(
        "scores",
        benchmark.word,
        model,
        cell,
        benchmark=benchmark.word,
        score_micro=score,
        at=UNKNOWN,
        by=UNKNOWN,
    )
