"""Where the source begins to parse bytes: the calls of the libraries that do it, by the function they stand in."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import archipel

SOURCE = Path(archipel.__file__).parent
PARSING = frozenset(
    {
        *(
            "json.loads",
            "json.load",
            "csv.reader",
            "tomllib.loads",
            "tomllib.load",
            "base64.b64decode",
        ),
        *(
            "safetensors.torch.load",
            "safetensors.torch.load_file",
            "safe_open",
            "safetensors.safe_open",
        ),
        *("np.frombuffer", "torch.frombuffer", "serialization.load_pem_private_key"),
        "Xml.fromstring",
        *("zstandard.frame_content_size", "zstandard.ZstdDecompressor"),
    }
)
METHODS = frozenset(
    {"model_validate_json", "model_validate_strings", "unpack_from", "ParseFromString"}
)
"""Whatever they are called on."""
_NAMES = "|".join(sorted({*METHODS, *(name.rpartition(".")[2] for name in PARSING)}))
LAST = re.compile(rf"\b({_NAMES})\(")
"""A file in which none of these names is called need not be looked at more closely."""


@cache
def parsers(rooms_left_out: tuple[str, ...] = ("bench", "demo")) -> dict[str, set[str]]:
    """File, relative to the source, -> names of its functions that parse."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        text = path.read_text("utf-8")
        if name.split("/")[0] not in rooms_left_out and LAST.search(text):
            functions = set(_parsing(ast.parse(text), "<module>"))
            if functions:
                found[name] = functions
    return found


def _parsing(node: ast.AST, function: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        inner = (
            child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        )
        if isinstance(child, ast.Call) and _is_parsing(child.func):
            yield function
        yield from _parsing(child, inner)


def _is_parsing(called: ast.expr) -> bool:
    return _dotted(called) in PARSING or (
        isinstance(called, ast.Attribute) and called.attr in METHODS
    )


def _dotted(called: ast.expr) -> str:
    """`a.b.c` as it is written; empty for whatever else may be called."""
    if isinstance(called, ast.Name):
        return called.id
    if not isinstance(called, ast.Attribute):
        return ""
    before = _dotted(called.value)
    return f"{before}.{called.attr}" if before else ""
