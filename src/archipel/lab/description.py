"""What the lab's API says of itself: which refusals each operation knows, as problem types (RFC 9457).

The framework describes what an operation takes and gives; here every way in which it says no is added, from
the refusals themselves, so that a new one cannot be forgotten. Documentation only: nothing is decided here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from archipel.lab import refusals
from archipel.lab.refusals import Refused
from archipel.records.document import Document
from archipel.records.parcel import MEDIA_TYPE

PROBLEM_MEDIA_TYPE = "application/problem+json"
INVALID_REQUEST = ("invalid-request", 422)
HTTP_ERROR = ("http-error", 405)
"""What the framework itself refuses: a method that the path does not know, for instance."""
MEANING = {
    400: "It cannot be read as what was asked for",
    401: "A signature does not hold",
    402: "The balance is less than that takes",
    403: "This key may not do that",
    404: "There is no such thing here",
    405: "The path knows no such method; Allow names those that it knows",
    409: "It cannot follow what the lab holds already",
    413: "More bytes than anybody can honestly need",
    416: "The blob has no such bytes; Content-Range says how many it has",
    422: "It was read, and is not what was asked for",
    429: "Too much at once; Retry-After says when to try again",
    503: "The ledger goes on no more before the lab's next start, or another lab leads; Retry-After says when to ask again",
    507: "The lab's disk or quota is full, or it is short of memory or files; try again later",
}

OCTETS = "application/octet-stream"
_BYTES = {"type": "string", "format": "binary"}
_ENVELOPE = {
    "title": "Envelope",
    "description": "A signed statement (DSSE v1, one signature), in canonical JSON",
    "type": "object",
    "properties": {
        "payload": {"type": "string", "contentEncoding": "base64"},
        "payloadType": {"type": "string"},
        "signatures": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "properties": {"keyid": {"type": "string"}, "sig": {"type": "string"}},
                "required": ["keyid", "sig"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["payload", "payloadType", "signatures"],
    "additionalProperties": False,
}
BYTES_BODY = {"requestBody": {"required": True, "content": {OCTETS: {"schema": _BYTES}}}}
"""Of an upload."""
DOWNLOADS: dict[int | str, dict[str, Any]] = {
    200: {"content": {OCTETS: {"schema": _BYTES}}},
    206: {
        "description": "The range that was asked for",
        "content": {OCTETS: {"schema": _BYTES}},
        "headers": {"Content-Range": {"schema": {"type": "string"}, "required": True}},
    },
    307: {
        "description": "To whoever says `Archipel-Follows`: where the store has it, for two minutes",
        "headers": {"Location": {"schema": {"type": "string"}, "required": True}},
    },
}
_LINKS = (
    ("/runs", "/runs/{name}", {"name": "$response.body#/0/run"}),
    ("/runs", "/runs/{name}/opening", {"name": "$response.body#/0/run"}),
    ("/runs", "/runs/{name}/versions", {"name": "$response.body#/0/run"}),
    ("/runs", "/runs/{name}/market", {"name": "$response.body#/0/run"}),
    ("/runs", "/runs/{name}/ownership", {"name": "$response.body#/0/run"}),
    (
        "/runs/{name}",
        "/runs/{name}/updates/{version}",
        {"name": "$response.body#/run", "version": "$response.body#/version"},
    ),
    ("/nodes", "/nodes/{did}", {"did": "$response.body#/0/node"}),
    ("/leases", "/keys/{did}", {"did": "$response.body#/0/node"}),
    ("/lab", "/keys/{did}", {"did": "$response.body#/lab"}),
    ("/lab", "/ledger/entries", {"start": "$response.body#/ledger_size"}),
)
"""(what was read, what can be read next, its parameters: from where in the answer)."""

_DISK = (refusals.StorageExhausted, refusals.LedgerStopped)
_SIGNED = (refusals.Malformed, refusals.WronglySigned, refusals.WrongLab, refusals.NotAllowed)
_OFFERED = (
    *(*_SIGNED, *_DISK, refusals.NotJoined, refusals.NotYours, refusals.Late, refusals.Unknown),
    *(refusals.Refused, refusals.WrongDigest, refusals.TooLarge, refusals.Conflict, refusals.Busy),
)
_TURNS = (
    *(*_SIGNED, *_DISK, refusals.NotJoined, refusals.NotYours, refusals.Late, refusals.Duplicate),
    *(refusals.Unknown, refusals.Refused, refusals.WrongDigest, refusals.MissingBlob),
    *(refusals.TooLarge, refusals.Conflict, refusals.Replayed, refusals.Busy),
)
_ASKED = (
    *(*_SIGNED, *_DISK, refusals.NotJoined, refusals.Replayed, refusals.Unknown),
    *(refusals.TooLarge, refusals.Conflict, refusals.Busy),
)


def every_refusal(kind: type[Refused] = Refused) -> list[type[Refused]]:
    """All there are."""
    return [kind, *(each for sub in kind.__subclasses__() for each in every_refusal(sub))]


def with_refusals(description: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document, with every refusal of every operation."""
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _problem_schema()
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            kinds = _kinds(method.upper(), path)
            named = [(kind.problem, kind.status) for kind in kinds] + [HTTP_ERROR]
            if operation.get("parameters"):
                named.append(INVALID_REQUEST)
            _name(operation["responses"], named)
    for source, target, parameters in _LINKS:
        _link(description["paths"], source, target, parameters)
    return description


def signed_body(document: type[Document]) -> dict[str, Any]:
    """How an operation's body is described that is an envelope by itself, or a parcel around `document`."""
    shape = f"a parcel: the document {document.__name__} and small blobs beside it"
    content = {
        "application/json": {"schema": _ENVELOPE},
        MEDIA_TYPE: {"schema": _BYTES | {"description": shape}},
    }
    return {"requestBody": {"required": True, "content": content}}


def json_body(document: type[Document]) -> dict[str, Any]:
    """How an operation's body is described that is a document by itself."""
    content = {"application/json": {"schema": document.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


def parcel_body(shape: str) -> dict[str, Any]:
    """How an operation's body is described that is a parcel."""
    content = {MEDIA_TYPE: {"schema": _BYTES | {"description": f"a parcel: {shape}"}}}
    return {"requestBody": {"required": True, "content": content}}


def _link(paths: dict[str, Any], source: str, target: str, parameters: Mapping[str, str]) -> None:
    links = paths[source]["get"]["responses"]["200"].setdefault("links", {})
    operation = paths[target]["get"]
    links[operation["summary"]] = {
        "operationId": operation["operationId"],
        "parameters": dict(parameters),
    }


def _kinds(method: str, path: str) -> Iterable[type[Refused]]:
    if (method, path) == ("POST", "/records"):
        only_of_blobs = (refusals.NoSuchRange, refusals.NoLanding)
        return [kind for kind in every_refusal() if kind not in only_of_blobs]
    if (method, path) == ("POST", "/leases"):
        return _ASKED
    if path == "/ledger/cosignatures":
        return (*_DISK, refusals.Malformed, refusals.Refused, refusals.Busy)
    if path.startswith("/turns"):
        return _TURNS
    if path.startswith("/blobs/") and (method == "PUT" or path.endswith("/state")):
        return _OFFERED
    if path.startswith("/blobs/") and method == "POST":
        return (*_OFFERED, refusals.NoLanding)
    if method == "GET" and path.endswith("/blobs/{digest}"):
        return (*_DISK, refusals.Unknown, refusals.NoSuchRange, refusals.Busy)
    if (method, path) == ("HEAD", "/blobs/{digest}"):
        return (*_DISK, refusals.Unknown, refusals.Busy)
    if path in ("/healthz", "/metrics"):
        return (refusals.LedgerStopped,) if path == "/healthz" else ()
    return (*_DISK, refusals.Unknown) if "{" in path else _DISK


def _name(responses: dict[str, Any], named: Iterable[tuple[str, int]]) -> None:
    problems: defaultdict[int, set[str]] = defaultdict(set)
    for problem, status in named:
        problems[status].add(problem)
    for status, kinds in sorted(problems.items()):
        responses[str(status)] = _response(status, sorted(kinds))


def _response(status: int, kinds: list[str]) -> Mapping[str, Any]:
    answer: dict[str, Any] = {
        "description": f"{MEANING[status]} ({', '.join(kinds)})",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    header = {405: "Allow", 416: "Content-Range", 429: "Retry-After"}.get(status)
    if header is not None:
        answer["headers"] = {header: {"schema": {"type": "string"}}}
    return answer


def _problem_schema() -> Mapping[str, Any]:
    text = {"type": "string"}
    return {
        "title": "Problem",
        "description": "RFC 9457: `type` ends in the name of the refusal, `detail` says what to do.",
        "type": "object",
        "properties": {"type": text, "title": text, "status": {"type": "integer"}, "detail": text},
        "required": ["type", "title", "status", "detail"],
    }
