"""The tables of docs/reference/protocol.md, from the records themselves.

`python tests/protocol_tables.py docs/reference/protocol.md` writes them anew between their marks; a test fails when the page is
not current. Law: nothing about a field stands here.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter

from archipel.cli.recipe_page import meanings_of
from archipel.lab.description import INVALID_REQUEST
from archipel.records import documents, fields, joining_document, landing, sources
from archipel.records.adapter import AdapterForm
from archipel.records.audits import AuditTerms
from archipel.records.bids import Bid, Market
from archipel.records.door import AdaptQuestion, Begun, SampleQuestion
from archipel.records.door_documents import QuestionsView, QuestionView
from archipel.records.engine_classes import EngineClass
from archipel.records.episodes import EpisodeTerms
from archipel.records.exact import Contract
from archipel.records.experts import ExpertTerms
from archipel.records.grants import Attestation, Permit
from archipel.records.kinds import WORDS
from archipel.records.kinds.audit import Difference, Part
from archipel.records.kinds.merge import Verdict
from archipel.records.kinds.update import PromptBatch
from archipel.records.measures import Measured, Measures, SumTest
from archipel.records.membership import Delegation, Effort, Invitation, Signed
from archipel.records.ownership import Spending
from archipel.records.pretraining import (
    CorpusPace,
    GatePace,
    InnerPace,
    MergePace,
    OuterPace,
    PayloadPace,
)
from archipel.records.programmes.door import DoorPace
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.programmes.rl import RlPace
from archipel.records.receipts import Usage, UsageReceipt
from archipel.records.recipe_charter import CharterTerms, Contributor
from archipel.records.recipe_market import MarketTerms
from archipel.records.statement import Seq
from archipel.records.statements import Asking, Capabilities, ModelFile, Recorded
from archipel.records.succession import Agreement, Successor
from archipel.records.terms import Terms
from archipel.records.turns import (
    Question,
    Reply,
    Said,
    TurnsAnswer,
    TurnsAsked,
    TurnsAwaited,
    TurnsTold,
)
from archipel.records.words import SavedMemory

SHAPES = {
    name: getattr(fields, name)
    for name in (
        "Did", "Digest", "RunName", "WorkId", "KindName", "FileName", "MetricName", "Reason", "Fault", "Count", "Wait",
        "VersionNumber", "GroupIndex", "TokenId",
    )
} | {"Seq": Seq, "Contract": Contract, "EngineClass": EngineClass}  # fmt: skip
PARTS = (
    fields.BlobRef, ModelFile, Terms, RlPace, AuditTerms, EpisodeTerms, ExpertTerms, AdapterForm, Capabilities, Difference, Part,
    DoorPace, Begun, AdaptQuestion, SampleQuestion, PretrainPace, CorpusPace, InnerPace, PayloadPace, OuterPace, MergePace, GatePace, Verdict,
    PromptBatch, SavedMemory, Signed, Delegation, Invitation, Effort, Measures, SumTest, Measured,
    MarketTerms, Market, Bid, CharterTerms, Contributor, Spending, UsageReceipt, Usage, Attestation, Permit,
    Successor, Agreement,
)  # fmt: skip
GROUPS: dict[str, tuple[Any, ...]] = {
    "parts": PARTS,
    "statements": (*get_args(Recorded), *get_args(Asking)),
    "specs": tuple(words.spec for words in WORDS),
    "answers": tuple(words.answer for words in WORDS),
    "turns": (TurnsAsked, TurnsAwaited, TurnsTold, Said, Reply),
    "documents": (
        documents.LabFacts,
        joining_document.JoiningFacts,
        documents.KeyFacts,
        documents.Opening,
        documents.Inputs,
        documents.AcceptedWork,
        documents.Submitted,
        documents.Asked,
        documents.Have,
        documents.HeldRun,
        sources.Serving,
        sources.Fetched,
        documents.Receipt,
        documents.Handout,
        sources.BlobSources,
        sources.Peer,
        TurnsAnswer,
        Question,
        documents.UploadState,
        landing.Landing,
        landing.LandingPart,
        landing.Landed,
        QuestionView,
        QuestionsView,
        documents.RunView,
        documents.NodeView,
        documents.LeaseView,
        documents.Wait,
    ),
}
_SIGNS = (
    ("minimum", "≥ {:,}"), ("exclusiveMinimum", "> {:,}"), ("maximum", "≤ {:,}"), ("exclusiveMaximum", "< {:,}"),
    ("minLength", "at least {:,} characters"), ("maxLength", "at most {:,} characters"), ("minItems", "at least {:,} items"),
    ("maxItems", "at most {:,} items"), ("maxProperties", "at most {:,} keys"),
)  # fmt: skip
_MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TOLD = re.compile(r"\(([a-z, -]+)\)$")
_NAMED = {repr(TypeAdapter(shape).json_schema()): name for name, shape in SHAPES.items()}


def current(page: str) -> str:
    """The page with its tables as the records say."""
    return _MARK.sub(lambda mark: mark[1] + "\n".join(_table(mark[2])) + "\n" + mark[3], page)


def _table(name: str) -> Iterator[str]:
    if name == "shapes":
        yield from ("| shape | form |", "|---|---|")
        for shape, kind in SHAPES.items():
            yield f"| {shape} | {_cell(_bounds(TypeAdapter(kind).json_schema()))} |"
        return
    if name == "bounds":
        yield from ("| bound | value |", "|---|---|")
        for bound, value in bounds().items():
            yield f"| `{bound}` | {value:,} |"
        return
    if name == "routes":
        yield from (
            "| method and path | asks with | answers | refuses with | |",
            "|---|---|---|---|---|",
        )
        yield from _routes()
        return
    yield from ("| record | field | form | |", "|---|---|---|---|")
    for record in GROUPS[name]:
        schema = record.model_json_schema()
        kind = schema["properties"].get("kind", {}).get("const", record.__name__)
        said = meanings_of(record)
        for field, form in schema["properties"].items():
            if field in {"lab", "author", "seq"} and name in {"statements", "turns"}:
                continue
            left_out = (
                ""
                if field in schema.get("required", []) or "const" in form
                else "may be left out. "
            )
            yield f"| {kind} | `{field}` | {_cell(_form(form))} | {_cell(left_out + said.get(field, ''))} |"


def _routes() -> Iterator[str]:
    """As the lab's own description of its door has them."""
    from archipel.lab.api import make_api
    from world import World

    world = World()
    paths = make_api(world.lab).openapi()["paths"]
    world.close()
    for path, methods in paths.items():
        for method, operation in methods.items():
            asks = ", ".join(_asks(operation))
            answers = ", ".join(_answers(operation))
            said = _cell(operation["summary"])
            refuses = _cell(", ".join(f"`{each}`" for each in _refuses(operation)))
            yield f"| `{method.upper()} {path}` | {asks} | {answers} | {refuses} | {said} |"


def _asks(operation: dict[str, Any]) -> Iterator[str]:
    for each in operation.get("parameters", ()):
        if each["in"] != "path":
            place = "" if each["in"] == "query" else f" ({each['in']})"
            yield f"`{each['name']}`{_range(each['schema'])}{place}"
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        yield "body: " + " or ".join(f"`{each}`" for each in content)


def _answers(operation: dict[str, Any]) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        if status < "400":
            forms = " or ".join(map(_answered, answer.get("content", {}).items()))
            yield f"{status}{': ' if forms else ''}{forms}"


def _answered(content: tuple[str, dict[str, Any]]) -> str:
    media_type, shape = content[0], content[1].get("schema", {})
    is_told = "$ref" in shape or shape.get("type") == "array"
    return _form(shape) if media_type == "application/json" and is_told else f"`{media_type}`"


def _refuses(operation: dict[str, Any]) -> Iterable[str]:
    """Without what every path may say."""
    everywhere = {"http-error", "storage-full", "ledger-stopped", INVALID_REQUEST[0]}
    named = [
        kind
        for status, answer in operation["responses"].items()
        if status >= "400"
        if (told := _TOLD.search(answer["description"])) is not None
        for kind in told[1].split(", ")
    ]
    return [kind for kind in dict.fromkeys(named) if kind not in everywhere]


def bounds() -> dict[str, int]:
    """Every bound with a name that the wire has."""
    from archipel import identity
    from archipel.ledger import log
    from archipel.records import (
        canonical,
        documents,
        door,
        membership,
        parcel,
        payload,
        sources,
        turns,
        words,
    )  # fmt: skip

    rooms = (
        canonical, identity, door, fields, log, parcel, payload, documents, sources, turns, words, membership,
    )  # fmt: skip
    return {
        name: value
        for room in rooms
        for name, value in vars(room).items()
        if name.startswith(("MAX_", "SMALL_")) and isinstance(value, int)
    }


def _form(form: dict[str, Any]) -> str:
    bare = {
        key: value for key, value in form.items() if key not in {"title", "default", "description"}
    }
    if repr(bare) in _NAMED:
        return _NAMED[repr(bare)]
    if "$ref" in form:
        return str(form["$ref"].rsplit("/", 1)[-1])
    if "oneOf" in form or "anyOf" in form:
        return " or ".join(_form(each) for each in form.get("oneOf", form.get("anyOf")))
    if form.get("type") == "array":
        return f"list of {_form(form['items'])}{_range(form)}"
    if form.get("type") == "object":
        return f"map{_range(form)}"
    return _bounds(form)


def _bounds(form: dict[str, Any]) -> str:
    if "enum" in form or "const" in form:
        return ", ".join(f"`{choice}`" for choice in form.get("enum", [form.get("const")]))
    pattern = f" `{form['pattern']}`" if "pattern" in form else ""
    return f"{form.get('type', 'any')}{pattern}{_range(form)}"


def _range(form: dict[str, Any]) -> str:
    found = [sign.format(form[name]) for name, sign in _SIGNS if name in form]
    return f", {', '.join(found)}" if found else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(current(path.read_text("utf-8")), encoding="utf-8")
