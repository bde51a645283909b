"""Where the source begins to parse bytes: the calls of the libraries that do it, by the function they stand in."""

import ast
from collections.abc import Iterator
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
        *("zstandard.frame_content_size", "zstandard.ZstdDecompressor"),
    }
)
METHODS = frozenset(
    {"model_validate_json", "model_validate_strings", "unpack_from", "ParseFromString"}
)
"""Whatever they are called on."""


def parsers(rooms_left_out: tuple[str, ...] = ("bench", "demo")) -> dict[str, set[str]]:
    """File, relative to the source, -> names of its functions that parse."""
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name.split("/")[0] not in rooms_left_out:
            functions = set(_parsing(ast.parse(path.read_text("utf-8")), "<module>"))
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
    return ast.unparse(called) in PARSING or (
        isinstance(called, ast.Attribute) and called.attr in METHODS
    )
