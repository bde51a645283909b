"""The forms of files that can be taken in, by the word that a person types."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archipel.observatory.importers import benchmarks, epoch, hugging_face, leaderboard, mot
from archipel.observatory.importers.lines import MAX_FILE_BYTES, BadTable
from archipel.observatory.importers.taking import Taking


@dataclass(frozen=True, slots=True)
class Format:
    """A form, and what is said of files that have it unless somebody says otherwise."""

    what: str
    title: str
    url: str
    licence: str
    is_folder: bool = False


FORMATS: Final = {
    "epoch": Format(
        "Epoch AI's table of models (CSV)",
        "Epoch AI, Data on AI Models",
        "https://epoch.ai/data/ai-models",
        "CC-BY-4.0",
    ),
    "mot": Format(
        "a folder of model files of the Model Openness Tool (YAML)",
        "Model Openness Tool, model files",
        "https://github.com/lfai/model_openness_tool",
        "MIT",
        is_folder=True,
    ),
    "benchmarks": Format(
        "models with a day, open or closed, and a column a benchmark (CSV)",
        "Benchmark results of open and closed models",
        "https://github.com/epoch-research/open-model-trends",
        "unknown",
    ),
    "leaderboard": Format(
        "a leaderboard: model, rank or score, maker, licence (CSV)",
        "A leaderboard",
        "unknown",
        "unknown",
    ),
    "huggingface": Format(
        "models as Hugging Face's API lists them (JSON, or one a line)",
        "Hugging Face, list of models",
        "https://huggingface.co/api/models",
        "unknown",
    ),
}


def take_path(form: str, path: Path, taking: Taking, board: str = "arena") -> None:
    """Take in a file or folder of that form. board: the leaderboard's word.

    Raises:
        BadTable: it has another form; OSError: it cannot be read; TooStrict: something was refused.
    """
    if FORMATS[form].is_folder != path.is_dir():
        raise BadTable(
            f"{path} is {'a folder' if path.is_dir() else 'no folder'}; expected {FORMATS[form].what}"
        )
    if form == "mot":
        mot.take(path, taking)
        return
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadTable(f"{path} has more than {MAX_FILE_BYTES} bytes; split it")
    takers: dict[str, Callable[..., None]] = {
        "epoch": epoch.take,
        "benchmarks": benchmarks.take,
        "leaderboard": leaderboard.taking_of(board),
        "huggingface": hugging_face.take,
    }
    with path.open("rb") as file:
        takers[form](file, taking)
