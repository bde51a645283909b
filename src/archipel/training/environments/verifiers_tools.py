"""A tool of a `verifiers` toolset, called as the method that it is: no server, no port."""

import inspect
import json
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from archipel.model.tool_calls import Tool


@dataclass(frozen=True)
class Handle:
    """A tool of theirs, as it is called."""

    toolset: Any
    function: Any

    @property
    def name(self) -> str:
        """With its server's name before it, as their harnesses show it."""
        own = getattr(self.function, "tool_name", None) or self.function.__name__
        server = self.toolset.server_name
        return f"{server}_{own}" if server else own

    @property
    def parameters(self) -> dict[str, Any]:
        """Those that must be given -> what they are; others keep their defaults."""
        given = inspect.signature(self.function, eval_str=True).parameters.values()
        return {p.name: p.annotation for p in given if p.default is inspect.Parameter.empty}

    @property
    def tool(self) -> Tool:
        """As the model is told of it; all arguments are texts, read as the types that the function names."""
        said = (inspect.getdoc(self.function) or "").strip()
        return Tool(self.name, said, {name: name for name in self.parameters})

    async def call(self, arguments: dict[str, str], state: Any) -> str:
        """What the model is told; an error is told, too, as tool servers do."""
        from verifiers.v1.mcp import server

        token = server._call_state.set(state)
        try:
            given = {n: _read(arguments[n], kind) for n, kind in self.parameters.items()}
            result = self.function(**given)
            if inspect.isawaitable(result):
                result = await result
        except Exception as error:  # noqa: BLE001  (others' code, over a model's words)
            return f"error: {type(error).__name__}: {error}"
        finally:
            server._call_state.reset(token)
        return result if isinstance(result, str) else json.dumps(result, default=str)


def _read(text: str, kind: Any) -> Any:
    """An argument as its type wants it. Raises ValidationError."""
    if kind in (str, inspect.Parameter.empty, Any):
        return text
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_python(text)
    except ValidationError:
        return adapter.validate_json(text)
