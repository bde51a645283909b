"""Models as Hugging Face's API lists them (`/api/models` with `expand`): a list, or one object a line.

What the hub counts is not what people use: every GET and HEAD of a query file is a download. Laws: a model is open if
it is ungated under an open licence, restricted if it is gated or under another known licence, else unknown; a day of
creation that the hub gave to all older models is unknown. Source: huggingface_hub 2.4.0.
"""

import json
import math
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from archipel.observatory.importers.cells import BadCell, day
from archipel.observatory.importers.lines import BadTable
from archipel.observatory.importers.taking import Taking
from archipel.observatory.rows import MAX_AMOUNT, MAX_LINKS, UNKNOWN
from archipel.release.openness.licences import canonical

MAX_LIST_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
MAX_MODELS = 1_000_000
FIRST_DAY: Final = "2022-03-02"
"""All that is older has this day there."""
FIELDS: Final = (
    "author",
    "baseModels",
    "childrenModelCount",
    "createdAt",
    "disabled",
    "downloads",
    "downloadsAllTime",
    "gated",
    "likes",
    "pipeline_tag",
    "private",
    "safetensors",
    "tags",
)
"""To be asked for by `expand`."""
_KINDS: Final = {
    "text-generation": "language",
    "text2text-generation": "language",
    "image-text-to-text": "multimodal",
    "audio-text-to-text": "multimodal",
    "video-text-to-text": "multimodal",
    "any-to-any": "multimodal",
    "feature-extraction": "embedding",
    "sentence-similarity": "embedding",
}
_COUNTS: Final = {
    "downloads": "downloads_30d",
    "downloadsAllTime": "downloads_all",
    "likes": "likes",
    "childrenModelCount": "derivatives",
}


def take(file: BinaryIO, taking: Taking) -> None:
    """Take in a list of models, or a file with one a line.

    Raises:
        BadTable: neither; TooStrict: a model was refused, and none may be.
    """
    for place, each in _objects(file):
        if taking.counted["lines"] >= MAX_MODELS:
            raise BadTable(f"more than {MAX_MODELS} models; split the file")
        take_model(each, place, taking)


def read_page(data: bytes) -> list[Any]:
    """The models of one page, each still to be looked at.

    Raises:
        BadTable: no list of objects with ids.
    """
    page = _parsed(data, "the page")
    if not isinstance(page, list):
        raise BadTable(f"{type(page).__name__} where a list of models was expected")
    if page and not any(isinstance(each, dict) and "id" in each for each in page):
        raise BadTable("no object of the list has an id: the form has changed")
    return page


def take_model(each: Any, place: str, taking: Taking) -> None:
    """Take in one model.

    Raises:
        TooStrict: it was refused, and none may be.
    """
    taking.counted["lines"] += 1
    try:
        _take(each, place, taking)
    except BadCell as error:
        taking.refuse(place, str(error))


def _take(each: Any, place: str, taking: Taking) -> None:
    if not isinstance(each, dict) or not isinstance(each.get("id"), str):
        raise BadCell("no object with an id")
    model_id: str = each["id"]
    created = each.get("createdAt")
    first = day(created, taking.day) if isinstance(created, str) else UNKNOWN
    first = UNKNOWN if first <= FIRST_DAY else first
    counts = {
        metric: _count(each[key], key)
        for key, metric in _COUNTS.items()
        if each.get(key) is not None
    }
    facts = {"released": first, **_facts(each)}
    maker, _, rest = model_id.partition("/")
    if rest and taking.organisation_of(maker, maker, place):
        facts["organisations"] = (maker,)
    model = taking.model(model_id, place, id=model_id, **facts)
    if model is None:
        return
    for metric, value in counts.items():
        taking.about(
            "counts",
            metric,
            model,
            place,
            metric=metric,
            value=value,
            at=taking.day,
            first_at=UNKNOWN if metric == "downloads_30d" else first,
        )


def _facts(each: dict[str, Any]) -> dict[str, Any]:
    licence = _licence(each.get("tags"))
    tensors, pipeline = each.get("safetensors"), each.get("pipeline_tag")
    total = tensors.get("total") if isinstance(tensors, dict) else None
    kind = _KINDS.get(pipeline, "other") if isinstance(pipeline, str) else UNKNOWN
    return {
        "kind": kind,
        "access": _access(each, licence),
        "params": total if isinstance(total, int) and 0 < total <= MAX_AMOUNT else UNKNOWN,
        "licence": licence or UNKNOWN,
        "parents": _parents(each.get("baseModels")),
    }


def _access(each: dict[str, Any], licence: str | None) -> str:
    if each.get("private") or each.get("disabled"):
        return "closed"
    if each.get("gated") in ("auto", "manual", True):
        return "restricted"
    if licence in (None, "other", "unknown") or each.get("gated") is not False:
        return UNKNOWN
    return "open" if canonical(str(licence)) is not None else "restricted"


def _licence(tags: Any) -> str | None:
    named = [
        each.removeprefix("license:")
        for each in (tags if isinstance(tags, list) else ())
        if isinstance(each, str) and each.startswith("license:")
    ]
    return named[0][:300] if len(named) == 1 and named[0] else None


def _parents(value: Any) -> Any:
    models = value.get("models") if isinstance(value, dict) else None
    if not isinstance(models, list) or len(models) > MAX_LINKS:
        return UNKNOWN
    ids = [each.get("id") for each in models if isinstance(each, dict)]
    return tuple(dict.fromkeys(each for each in ids if isinstance(each, str))) or UNKNOWN


def _count(value: Any, key: str) -> int:
    if isinstance(value, dict) and not any(isinstance(each, dict) for each in value.values()):
        return sum(_count(each, key) for each in value.values())
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_AMOUNT:
        raise BadCell(f"{key} is {value!r:.40}; expected a whole number up to {MAX_AMOUNT}")
    return value


def _objects(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    first = file.read(1)
    while first in (b" ", b"\n", b"\r", b"\t"):
        first = file.read(1)
    if first == b"[":
        data = first + file.read(MAX_LIST_BYTES)
        if len(data) > MAX_LIST_BYTES:
            raise BadTable(f"a list of more than {MAX_LIST_BYTES} bytes; give one model a line")
        for at, each in enumerate(read_page(data), 1):
            yield f"model {at}", each
        return
    if first != b"{":
        raise BadTable(f"it begins with {first!r}; expected a list, or one object a line")
    number, line = 1, first + file.readline(MAX_LINE_BYTES)
    while line:
        if len(line) > MAX_LINE_BYTES:
            raise BadTable(f"line {number} has more than {MAX_LINE_BYTES} bytes")
        if line.strip():
            try:
                yield f"line {number}", _parsed(line, "the line")
            except BadTable as error:
                yield f"line {number}: {error}", None
        number, line = number + 1, file.readline(MAX_LINE_BYTES + 1)


def _parsed(data: bytes, what: str) -> Any:
    try:
        value = json.loads(data, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadTable(f"{what} is no JSON: {error!s:.200}") from None
    return value


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is no finite number")
    return value
