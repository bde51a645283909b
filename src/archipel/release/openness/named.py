"""Components of a stranger's folder, found by what files are called, and licences by what stands beside them.

Laws: nothing is believed. A README's words make a component *stated*; a file's name makes it worth looking into; only
its bytes make it present. A licence is that of the nearest folder that has a text, else one for the type
(`LICENSE-data`), else the card's `license` with the text at the root.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any, Final

from archipel.release.openness import mof
from archipel.release.openness.claims import NOBODY, Claim, Licensed, text_for
from archipel.release.openness.data_files import BadFile, decoded, front_matter, read_some
from archipel.release.openness.holding import files_below
from archipel.release.openness.licences import Type, canonical
from archipel.release.openness.plain_yaml import BadYaml, read_plain_yaml

CARDS: Final = ("README.md", "MODEL_CARD.md", "model_card.md", "README.rst", "README.txt")
_DATA: Final = r"\.(jsonl|json|parquet|csv|tsv|txt|arrow|npy|zst|gz)"
PATTERNS: Final = (
    (mof.PARAMETERS, r"(model|pytorch_model|adapter_model|consolidated|weights)?[\w.-]*\.(safetensors|gguf|bin|pt|pth|ckpt)"),
    (mof.INTERMEDIATE, r"(checkpoints?|ckpts?|intermediate|revisions|versions)/.+\.(safetensors|gguf|bin|pt|pth|ckpt)"),
    (mof.INTERMEDIATE, r"(checkpoint|step|epoch)[-_]?\d+/.+\.(safetensors|gguf|bin|pt|pth|ckpt)"),
    (mof.ARCHITECTURE, r"(.+/)?(modeling|modelling|configuration)_[\w.-]+\.py"),
    (mof.ARCHITECTURE, r"(.+/)?(model|models|network|architecture|transformer|networks)(/.+)?\.py"),
    (mof.TRAINING_CODE, r"(.+/)?(pre)?train(er|ing)?([_-][\w.-]+|/.+)?\.py"),
    (mof.TRAINING_CODE, r"(.+/)?(fine[_-]?tune|finetuning|sft|rlhf|grpo)([_-][\w.-]+|/.+)?\.py"),
    (mof.INFERENCE_CODE, r"(.+/)?(generate|generation|inference|infer|predict|sample|chat|serve|engine)([_-][\w.-]+|/.+)?\.py"),
    (mof.EVALUATION_CODE, r"(.+/)?(eval|evals|evaluate|evaluation|benchmark|benchmarks)([_-][\w.-]+|/.+)?\.py"),
    (mof.PREPROCESSING, r"(.+/)?(prepare|preprocess|preprocessing|pre_process|tokeni[sz]e|clean|dedup|filter|curate|build_data)([_-][\w.-]+|/.+)?\.py"),
    (mof.DATASETS, rf"(data|datasets?|corpus|training_data)/(?!.*(eval|test|valid|held)).+{_DATA}"),
    (mof.DATASETS, rf"(train|training|corpus)[\w.-]*{_DATA}"),
    (mof.EVALUATION_DATA, r"(.+/)?(eval|evaluation|test|valid|validation|heldout|held_out)([_-]?(data|set))?[\w.-]*(/.+)?\.(jsonl|parquet|csv|tsv)"),
    (mof.DATA_CARD, r"(.+/)?(data[_-]?card|dataset[_-]?card|data[_-]?sheet)[\w.-]*\.(md|txt|pdf|html|rst)"),
    (mof.DATA_CARD, r"(data|datasets?)/readme\.(md|rst|txt)"),
    (mof.REPORT, r"(.+/)?[\w.-]*(tech(nical)?[_-]?report|^report)[\w.-]*\.(md|pdf|tex|html|txt)"),
    (mof.REPORT, r"(docs/|papers/)?report\.(md|pdf|tex|html|txt)"),
    (mof.PAPER, r"(.+/)?([\w.-]*(research[_-]?paper|arxiv)[\w.-]*|paper)\.(md|pdf|tex|html|txt)"),
    (mof.RESULTS, r"(.+/)?([\w.-]*results?|eval_report|scores|metrics|leaderboard)[\w.-]*\.(json|jsonl|csv|tsv|md)"),
    (mof.LIBRARIES, r"(.+/)?(requirements[\w.-]*\.txt|pyproject\.toml|poetry\.lock|uv\.lock|environment\.ya?ml|setup\.cfg|package\.json|cargo\.toml)"),
    (mof.METADATA, r"(.+/)?(training_args|trainer_state|recipe|train(ing)?_config|hyperparameters)[\w.-]*\.(json|toml|ya?ml)"),
    (mof.SAMPLES, r"(.+/)?(samples?|sample_outputs?|generations|completions)[\w.-]*\.(jsonl?|txt|md|csv)"),
)  # fmt: skip
"""Where a component may lie, in small letters, relative to the folder."""
CONFIGURED: Final = "a configuration names it, and its code is not here"
WORDS: Final = {
    mof.ARCHITECTURE: ("architecture",),
    mof.PARAMETERS: ("weights", "parameters", "checkpoint"),
    mof.DATA_CARD: ("data card", "datasheet", "dataset card"),
    mof.REPORT: ("technical report", "tech report"),
    mof.RESULTS: ("evaluation results", "benchmark", "results"),
    mof.TRAINING_CODE: ("training code", "train the model"),
    mof.INFERENCE_CODE: ("inference", "generate"),
    mof.EVALUATION_CODE: ("evaluation code", "lm-evaluation-harness", "eval code"),
    mof.EVALUATION_DATA: ("evaluation data", "test set", "eval data"),
    mof.DATASETS: ("training data", "dataset", "corpus"),
    mof.PREPROCESSING: ("preprocessing", "pre-processing", "deduplicat"),
    mof.INTERMEDIATE: ("intermediate checkpoints", "all checkpoints", "every checkpoint"),
    mof.PAPER: ("arxiv", "paper"),
    mof.LIBRARIES: ("requirements", "libraries"),
}
"""What a card says when it speaks of a component."""
_TEXT = re.compile(r"(licen[cs]e|copying)([-_.](?P<of>[a-z0-9]+))?(\.(md|txt|rst))?")
_OF: Final[dict[str, Type]] = {
    "code": "code", "data": "data", "dataset": "data", "model": "data", "weights": "data",
    "docs": "document", "documentation": "document", "document": "document",
}  # fmt: skip


def named(folder: Path) -> list[Claim]:
    """Every component that files or words of a folder point to.

    Raises:
        TooManyFiles: as `files_below`.
    """
    files = files_below(folder, ".")
    card = next((each for each in CARDS if each in files), None)
    said = _card(folder, card) if card else ""
    texts = _texts(files)
    whole = _distribution(folder, said, texts)
    claims = []
    for name, part in mof.PARTS.items():
        places = tuple(each for each in files if _is_called(each, name))
        if name == mof.CARD and card:
            places = (card,)
        if name == mof.ARCHITECTURE and not places and "config.json" in files:
            claims.append(Claim(name, ("config.json",), whole, (CONFIGURED,)))
            continue
        mentioned = any(word in said.lower() for word in WORDS.get(name, ()))
        if not places and not mentioned:
            continue
        why = () if places else ("only words of the card point to it: no file is called like it",)
        licence = _licence(folder, places, part.type, texts, whole) if places else whole
        claims.append(Claim(name, places, licence, why))
    return claims


def _is_called(file: str, part: str) -> bool:
    small = file.lower()
    return any(name == part and re.fullmatch(pattern, small) for name, pattern in PATTERNS)


def _card(folder: Path, place: str) -> str:
    try:
        return decoded(*read_some(folder / place)) if not (folder / place).is_symlink() else ""
    except (BadFile, OSError):
        return ""  # whoever looks into the card says what is wrong with it


def _matter(said: str) -> dict[str, Any]:
    """The card's settings, as model hubs read them.

    Raises:
        BadYaml: they are none.
    """
    text = front_matter(said.replace("\r\n", "\n"))
    found = read_plain_yaml(text.encode()) if text else {}
    return found if isinstance(found, dict) else {}


def _texts(files: list[str]) -> dict[tuple[str, Type | None], str]:
    """(folder, type or None) -> file with a licence's text."""
    found: dict[tuple[str, Type | None], str] = {}
    for file in files:
        path = PurePosixPath(file)
        match = _TEXT.fullmatch(path.name.lower())
        if match:
            of = match["of"]
            kind = _OF.get(of) if of else None
            if of is None or of in {"md", "txt", "rst"} or kind is not None:
                found.setdefault((path.parent.as_posix(), kind), file)
    return found


def _distribution(folder: Path, said: str, texts: dict[tuple[str, Type | None], str]) -> Licensed:
    try:
        told = _matter(said).get("license")
    except BadYaml as error:
        return Licensed(None, "none", why=(f"the card's settings cannot be read: {error}",))
    if isinstance(told, list):
        told = " AND ".join(str(each) for each in told)
    text = texts.get((".", None))
    if not isinstance(told, str) or len(told) > 200:
        return text_for(folder, text, None, "distribution") if text else NOBODY
    known = [canonical(each) for each in told.split(" AND ")]
    spdx = told if None in known else " AND ".join(each for each in known if each)
    if text is None or " AND " in spdx:
        why = () if text else (f"no text of {spdx} lies beside the card that names it",)
        return Licensed(spdx, "distribution", why=why)
    if None in known:
        return Licensed(spdx, "distribution")
    return text_for(folder, text, spdx, "distribution")


def _licence(
    folder: Path,
    places: tuple[str, ...],
    of: Type,
    texts: dict[tuple[str, Type | None], str],
    whole: Licensed,
) -> Licensed:
    """Of files; all of them must lie under one text for it to be theirs."""
    nearest = {_nearest(place, texts) for place in places}
    if len(nearest) == 1 and (own := nearest.pop()) is not None:
        return text_for(folder, own, None, "component")
    if (shared := texts.get((".", of))) is not None:
        return text_for(folder, shared, None, "type")
    return whole


def _nearest(place: str, texts: dict[tuple[str, Type | None], str]) -> str | None:
    for parent in PurePosixPath(place).parents:
        if parent.as_posix() != "." and (text := texts.get((parent.as_posix(), None))):
            return text
    return None
