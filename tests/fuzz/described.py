"""Descriptions of doors that describe nothing themselves: OpenAPI of their routes, with the forms that are read there.

Documentation for the fuzzer alone. Law: every route of the door is in it, or is named as left out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute, Mount, Route

from archipel.dashboard.http import site
from archipel.door.wire import bodies, calls, messages, sampling, training
from archipel.door.wire.reading import Page

Forms = Mapping[str, type[BaseModel]]
Operation = tuple[str, str]
"""(method, path)."""
TEXT = {"type": "string"}
RAW_JSON = "application/json"
FORMS: Forms = {
    "client_config": bodies.ClientConfig,
    "create_session": bodies.CreateSession,
    "session_heartbeat": bodies.SessionHeartbeat,
    "finish_session": bodies.FinishSession,
    "search_sessions": bodies.SearchSessions,
    "create_model": bodies.CreateModel,
    "get_info": bodies.ModelNamed,
    "unload_model": bodies.ModelNamed,
    "forward_backward": training._ForwardBackwardBody,
    "forward": training._ForwardBody,
    "optim_step": bodies.OptimStepBody,
    "save_weights": bodies.SaveWeights,
    "save_weights_for_sampler": bodies.SaveWeightsForSampler,
    "save_weights_external": bodies.SaveWeightsExternal,
    "load_weights": bodies.LoadWeights,
    "weights_info": bodies.WeightsInfo,
    "checkpoint_ttl": bodies.SetTtl,
    "create_sampling_session": bodies.CreateSamplingSession,
    "join_sampling_session": bodies.JoinSamplingSession,
    "asample": sampling.SampleBody,
    "retrieve_future": bodies.RetrieveFuture,
    "retrieve_futures": bodies.RetrieveFutures,
    "cancel_future": bodies.CancelFuture,
}
"""What a call of the training door reads."""


def operations(routes: Iterable[BaseRoute], below: str = "") -> set[Operation]:
    """All of an application, with those that are mounted; a HEAD goes with its GET."""
    found: set[Operation] = set()
    for route in routes:
        if isinstance(route, Mount):
            found |= operations(route.routes, below + route.path)
        elif isinstance(route, Route):
            path = re.sub(r":\w+}", "}", below + route.path)
            found |= {(method, path) for method in route.methods or () if method != "HEAD"}
    return found


def described_in(description: Mapping[str, Any]) -> set[Operation]:
    """What a description names."""
    return {
        (method.upper(), path)
        for path, methods in description["paths"].items()
        for method in methods
        if method != "head"
    }


def description(
    operations: Iterable[Operation],
    forms: Mapping[Operation, type[BaseModel]] | None = None,
    media: Mapping[Operation, str] | None = None,
    asked: Mapping[Operation, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """OpenAPI 3.1.

    forms: of bodies in JSON. media: of bodies that are bytes. asked: parameters `in name` -> schema, beside those
    in the path.
    """
    forms, media, asked = forms or {}, media or {}, asked or {}
    named, defined = models_json_schema(
        [(kind, "validation") for kind in dict.fromkeys(forms.values())],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Any] = {}
    for method, path in sorted(operations):
        one = (method, path)
        parameters = [_parameter("path", name, TEXT) for name in re.findall(r"{(\w+)}", path)]
        for place, schema in asked.get(one, {}).items():
            parameters.append(_parameter(*place.split(" ", 1), schema))
        operation: dict[str, Any] = {
            "operationId": f"{method} {path}",
            "parameters": parameters,
            "responses": {"default": {"description": "some answer"}},
        }
        content = {}
        if one in forms:
            content[RAW_JSON] = {"schema": named[forms[one], "validation"]}
        if one in media:
            content[media[one]] = {"schema": {"type": "string", "format": "binary"}}
        if not content and method in ("POST", "PUT"):
            content[RAW_JSON] = {"schema": {"type": "object"}}
        if content:
            operation["requestBody"] = {"required": True, "content": content}
        paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "a door", "version": "1"},
        "paths": paths,
        "components": {"schemas": defined.get("$defs", {})},
    }


def _parameter(place: str, name: str, schema: Any) -> dict[str, Any]:
    return {"in": place, "name": name, "required": place == "path", "schema": schema}


def of_training(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """The training door: its own routes, and behind the one for calls every call of the wire's table."""
    forms: dict[Operation, type[BaseModel]] = {}
    media: dict[Operation, str] = {}
    asked: dict[Operation, dict[str, Any]] = {("GET", "/usage/data"): {"query days": TEXT}}
    page = Page.model_json_schema()["properties"]
    found = operations(routes)
    for call in calls.CALLS:
        one = (call.method, calls.BASE + call.path.replace("*}", "}"))
        found.add(one)
        asked[one] = {f"query {name}": schema for name, schema in page.items()}
        if call.name in FORMS:
            forms[one] = FORMS[call.name]
        if call.name in ("forward_backward", "forward"):
            media[one] = messages.MEDIA_TYPE
    return description(found, forms, media, asked)


def of_pages(found: Iterable[Operation]) -> dict[str, Any]:
    """The pages: behind the one route for all of them every page that there is, whole, in part and as JSON."""
    every, asked = set(found), dict[Operation, dict[str, Any]]()
    names = [(name, False) for name in site.ALONE] + [(name, True) for name in site.OF]
    for name, has_rest in names:
        path = f"/pages/{name}" + (f"/{{{name}}}" if has_rest else "")
        for one in (("GET", path), ("GET", (path if name else "/pages/index") + ".json")):
            every.add(one)
            words: Sequence[str] = (*site.ASKED.get((name, has_rest), ()), "part")
            asked[one] = {f"query {word}": TEXT for word in words}
            asked[one]["header If-None-Match"] = TEXT
    return description(every, asked=asked)
