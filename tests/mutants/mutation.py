"""Small wrong programs: every way in which one file may be changed at one place.

`mutations` lists them with positions; `mutated` gives the changed text. Law: a pure function of the
text; docstrings, f-strings, decorators, type annotations, `__all__`, logging calls and blocks under
`TYPE_CHECKING` are never touched.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
LOGGERS = ("log", "_log", "logger", "logging")
SMALL = 2
"""An integer up to here is a count or an index; a larger one is a bound, and is doubled too."""


@dataclass(frozen=True, order=True)
class Mutation:
    """One change of one file."""

    line: int
    column: int
    end_line: int
    end_column: int
    """Lines from 1, columns in UTF-8 bytes from 0, as `ast` counts them."""
    kind: str
    scope: str
    """Qualified name of the function or class it lies in; `-` for the module itself."""
    before: str
    after: str

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Where; several mutations may share it."""
        return self.line, self.column, self.end_line, self.end_column


def mutations(source: str) -> list[Mutation]:
    """All mutations of a module's text, by position."""
    found = {
        Mutation(*_place(node), kind, scope, ast.unparse(node), after)
        for node, scope, is_condition in _walk(ast.parse(source), "-")
        for kind, after in _changes(node, scope, is_condition)
    }
    return sorted(found)


def mutated(source: str, mutation: Mutation) -> str:
    """The text with one mutation made; it parses.

    Raises:
        SyntaxError: the mutation is not one of this text.
    """
    data = source.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    begin = starts[mutation.line - 1] + mutation.column
    end = starts[mutation.end_line - 1] + mutation.end_column
    changed = (data[:begin] + mutation.after.encode() + data[end:]).decode()
    ast.parse(changed)
    return changed


def _place(node: ast.AST) -> tuple[int, int, int, int]:
    assert isinstance(node, ast.expr | ast.stmt)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _walk(node: ast.AST, scope: str) -> Iterator[tuple[ast.AST, str, bool]]:
    """Every expression and statement that may be changed, its scope, and whether it is a condition."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        scope = node.name if scope == "-" else f"{scope}.{node.name}"
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_left_alone(child):
                if isinstance(child, ast.expr | ast.stmt):
                    yield child, scope, name in ("test", "ifs")
                yield from _walk(child, scope)


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name in LOGGERS:
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name in LOGGERS
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in (*LOGGERS, "__all__")
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
            return True
    return False


def _changes(node: ast.AST, scope: str, is_condition: bool) -> Iterator[tuple[str, str]]:
    """(kind, text that takes the node's place)."""
    if isinstance(node, ast.expr):
        for kind, changed in (*_changed_operators(node), *_changed_values(node)):
            if ast.unparse(changed) != ast.unparse(node):
                yield kind, f"({ast.unparse(changed)})"
        if is_condition and not isinstance(node, ast.UnaryOp):
            yield "negated", f"(not ({ast.unparse(node)}))"
    elif isinstance(node, ast.Return) and node.value is not None:
        yield from _changed_returns(ast.unparse(node.value))
    elif _may_be_dropped(node, scope):
        yield "dropped", "pass"


def _may_be_dropped(node: ast.AST, scope: str) -> bool:
    match node:
        case ast.Raise() | ast.Expr(value=ast.Call() | ast.Await()):
            return True
        case ast.Assign() | ast.AugAssign():
            return scope != "-"
    return False


def _changed_returns(value: str) -> Iterator[tuple[str, str]]:
    """None for False says the same to nearly every caller, so they are not tried for each other."""
    for other in ("None", "True", "False"):
        if other != value and {other, value} != {"None", "False"}:
            yield "return", f"return {other}"


def _changed_operators(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=rest):
            for index, op in enumerate(ops):
                changed = [*ops[:index], COMPARISONS[type(op)](), *ops[index + 1 :]]
                yield "comparison", ast.Compare(left, changed, rest)
        case ast.BoolOp(op=op, values=values):
            yield "boolean", ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "negated", operand
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            yield "arithmetic", ast.BinOp(left, ARITHMETIC[type(op)](), right)


def _changed_values(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            for other in (value - 1, value + 1, *([2 * value] if value > SMALL else [])):
                yield "constant", ast.Constant(other)
        case ast.Call(func=func, args=[first, second, *others], keywords=keywords):
            if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
                yield "swapped", ast.Call(func, [second, first, *others], keywords)
        case ast.Subscript(value=value, slice=ast.Slice() as span, ctx=ast.Load()):
            for other_span in _changed_slices(span):
                yield "slice", ast.Subscript(value, other_span, ast.Load())


def _changed_slices(span: ast.Slice) -> Iterator[ast.Slice]:
    one = ast.Constant(1)
    lower = ast.BinOp(span.lower, ast.Add(), one) if span.lower else one
    upper = ast.BinOp(span.upper, ast.Sub(), one) if span.upper else ast.UnaryOp(ast.USub(), one)
    yield ast.Slice(lower, span.upper, span.step)
    yield ast.Slice(span.lower, upper, span.step)
