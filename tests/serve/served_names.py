"""Hooks of schemathesis: half of what is drawn names the model that is there, and asks for little."""

import random
from typing import Any

import schemathesis

PATH = "/v1/models/{name}"


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """A body that comes further than the model's name."""
    if isinstance(body, dict) and random.random() < 0.7:
        return (
            body
            | {"model": "tiny"}
            | {n: 3 for n in ("max_tokens", "max_output_tokens") if n in body}
        )
    return body
