"""What a door says of itself: OpenAPI 3.1, of the routes that it has, with the fields that are read and the errors' forms.

Fields that are not named are passed over, unless they would change an answer: those are refused by name. Documentation
only: nothing is decided here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from archipel import __version__
from archipel.serve.dialects import (
    anthropic,
    classifying,
    embeddings,
    ollama,
    ollama_asked,
    openai_asked,
    openai_responses_asked,
)
from archipel.serve.refusing import Dialect, dialect_of

BODIES: Mapping[str, type[BaseModel]] = {
    "/v1/chat/completions": openai_asked.ChatBody,
    "/v1/completions": openai_asked.TextBody,
    "/v1/responses": openai_responses_asked.ResponsesBody,
    "/v1/messages": anthropic.MessagesBody,
    "/v1/messages/count_tokens": anthropic.CountBody,
    "/api/chat": ollama_asked.ChatBody,
    "/api/generate": ollama_asked.TextBody,
    "/v1/embeddings": embeddings.OpenAIBody,
    "/v1/classify": classifying.ClassifyBody,
    "/api/embed": embeddings.OllamaBody,
    "/api/embeddings": embeddings.OldOllamaBody,
    "/api/show": ollama.NamedBody,
}
"""What a route reads; one that is not here reads any JSON object."""
MEANING = {
    "400": "Malformed, too long, or asking for what is not done here",
    "401": "The API key is missing or wrong",
    "403": "Another site's page, a name that this server does not go by, or sums that are for the first key alone",
    "404": "No such model, or no such page",
    "405": "The path knows no such method; Allow names those that it knows",
    "408": "The answer, or the body, took too long",
    "409": "The answer is not whole yet",
    "422": "The document that was asked for could not be finished",
    "429": "Too much is waiting; Retry-After says when to ask again",
}
_TEXT = {"type": "string"}
_OPENAI = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {"message": _TEXT, "type": _TEXT},
            "required": ["message", "type"],
        }
    },
    "required": ["error"],
}
_ANTHROPIC = _OPENAI | {
    "properties": _OPENAI["properties"] | {"type": {"const": "error"}},  # type: ignore[operator]  # a dict
    "required": ["type", "error"],
}
_OLLAMA = {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]}
_ERRORS: Mapping[Dialect, Mapping[str, Any]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "ollama": _OLLAMA,
}


def description(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    kinds = list(dict.fromkeys(BODIES.values()))
    named, defined = models_json_schema(
        [(kind, "validation") for kind in kinds], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, Any] = {}
    for route in routes:
        body = BODIES.get(route.path)
        schema = {"type": "object"} if body is None else named[body, "validation"]
        path = route.path.replace(":path}", "}")
        paths[path] = {
            method.lower(): _operation(route, path, method, schema)
            for method in sorted(route.methods or ())
            if method != "HEAD"
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Archipel: a served model", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": defined.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _operation(route: Route, path: str, method: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    media = "application/x-ndjson" if dialect_of(path) == "ollama" else "text/event-stream"
    kinds = ["application/json", *([media] if method == "POST" else [])]
    if not path.startswith(("/v1/", "/api/", "/health", "/openapi")):
        kinds = ["*/*"]
    answers: dict[str, Any] = {
        "200": {"description": "The answer", "content": {kind: {} for kind in kinds}}
    }
    for status, words in MEANING.items():
        content = {"application/json": {"schema": _ERRORS[dialect_of(path)]}}
        answers[status] = {"description": words, "content": content}
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}_{route.name}",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _TEXT}
            for name in route.param_convertors
        ],
        "responses": answers,
    }
    if method == "POST":
        content = {"application/json": {"schema": dict(schema)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation
