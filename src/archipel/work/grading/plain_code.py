"""Whether a foreign grader's code can neither evaluate a text nor keep anything of it, by reading it.

`is_plain` reads the source of a scoring method, and of whatever of its package it calls, before any stranger's
text is there. It knows a small language: local names, literals, operators, loops, a few builtins and methods that
change nothing. Law: what it does not know is not plain; it errs on one side only.
"""

import ast
import builtins
import inspect
import json
import math
import re
import textwrap
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

MAX_DEPTH = 4
"""Functions that call functions are read so deep."""
PLAIN_VALUES = (str, int, float, bool, type(None), re.Pattern)
_STATEMENTS = (
    *(ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.If, ast.For, ast.While, ast.Expr),
    *(ast.Try, ast.ExceptHandler, ast.Pass, ast.Break, ast.Continue, ast.Raise, ast.Assert),
)
_EXPRESSIONS = (
    *(
        ast.Constant,
        ast.BinOp,
        ast.UnaryOp,
        ast.BoolOp,
        ast.Compare,
        ast.IfExp,
        ast.Slice,
        ast.Tuple,
    ),
    *(ast.List, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    *(ast.comprehension, ast.JoinedStr, ast.FormattedValue, ast.Starred, ast.keyword),
    *(ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
_BUILTINS = frozenset(
    [
        "abs",
        "all",
        "any",
        "bool",
        "dict",
        "enumerate",
        "float",
        "frozenset",
        "int",
        "isinstance",
        "len",
        "list",
        "max",
        "min",
        "range",
        "reversed",
        "round",
        "set",
        "sorted",
        "str",
        "sum",
        "tuple",
        "zip",
    ]
)
_METHODS = frozenset(
    [
        "casefold",
        "count",
        "difference",
        "endswith",
        "find",
        "get",
        "index",
        "intersection",
        "isalpha",
        "isdecimal",
        "isdigit",
        "isdisjoint",
        "isnumeric",
        "issubset",
        "items",
        "join",
        "keys",
        "lower",
        "lstrip",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rindex",
        "rpartition",
        "partition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "title",
        "union",
        "upper",
        "values",
        "group",
        "groups",
    ]
)
"""Of texts, lists, sets, dictionaries and matches; none changes what it is called on."""
_UNKNOWN = object()
_EXCEPTIONS = frozenset(
    [
        each
        for each in vars(builtins).values()
        if isinstance(each, type) and issubclass(each, Exception)
    ]
    + [json.JSONDecodeError, re.error]
)
_PATTERN_CALLS = frozenset(["findall", "finditer", "fullmatch", "match", "search", "split", "sub"])


def is_plain(method: MethodType) -> bool:
    """Whether calling this method leaves all but its arguments and local names as it was: its caller gives it
    arguments that nobody else has.
    """
    return isinstance(method, MethodType) and _reads_plain(method.__func__, method.__self__, 0)


def holds_plain_values(value: Any) -> bool:
    """Whether a value is made of numbers, texts and collections alone: no operator on it runs foreign code."""
    if type(value) is dict:
        return all(holds_plain_values(each) for pair in value.items() for each in pair)
    if type(value) in (list, tuple, set, frozenset):
        return all(map(holds_plain_values, value))
    return type(value) in PLAIN_VALUES


def _reads_plain(function: Any, owner: object, depth: int) -> bool:
    if not isinstance(function, FunctionType) or depth > MAX_DEPTH or function.__closure__:
        return False
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function.__code__))).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return False
    if not isinstance(tree, ast.FunctionDef):
        return False
    if any(not _is_static(each) for each in tree.decorator_list) or not _defaults_are_plain(
        function
    ):
        return False
    return _Reading(tree, function, owner, depth).holds()


class _Reading:
    """One function, read once."""

    def __init__(
        self, tree: ast.FunctionDef, function: FunctionType, owner: object, depth: int
    ) -> None:
        self._tree, self._owner, self._depth = tree, owner, depth
        self._globals = function.__globals__
        arguments = [*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs]
        is_bound = owner is not None and not tree.decorator_list
        self._self = arguments[0].arg if is_bound and arguments else None
        self._stored = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
        }
        caught = {
            each.name
            for each in ast.walk(tree)
            if isinstance(each, ast.ExceptHandler) and each.name
        }
        self._locals = {each.arg for each in arguments} | self._stored | caught
        self._inside = {
            name.id
            for each in ast.walk(tree)
            if isinstance(each, ast.comprehension)
            for name in ast.walk(each.target)
            if isinstance(name, ast.Name)
        }

    def holds(self) -> bool:
        """Whether all of it belongs to the language."""
        if self._self in self._stored or not self._inside.isdisjoint(self._globals):
            return False  # a name of a comprehension is outside of it the module's
        return all(map(self._statement, self._tree.body))

    def _statement(self, node: ast.AST) -> bool:
        """A statement or whatever is below one, by its kind."""
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Subscript):
            return isinstance(node.ctx, ast.Load) and self._all(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.AnnAssign):
            below = [node.target, *([node.value] if node.value else [])]
            return all(map(self._statement, below))
        return isinstance(node, _STATEMENTS + _EXPRESSIONS) and self._all(node)

    def _all(self, node: ast.AST) -> bool:
        return all(map(self._statement, ast.iter_child_nodes(node)))

    def _name(self, node: ast.Name) -> bool:
        if node.id in self._locals:
            return node.id != self._self  # the owner itself is never passed on
        if node.id in self._globals:
            return _is_constant(self._globals[node.id])
        return node.id in _BUILTINS or _is_exception(getattr(builtins, node.id, None))

    def _attribute(self, node: ast.Attribute) -> bool:
        """A setting of the owner, or an exception's class; methods are looked at where they are called."""
        if not isinstance(node.ctx, ast.Load):
            return False
        path = _path(node)
        if path and path[0] == self._self and self._self is not None:
            value = self._owner
            for name in path[1:]:
                value = inspect.getattr_static(value, name, _UNKNOWN)
            return _is_constant(value)
        return len(path) == 2 and _is_exception(self._of_module(path))

    def _call(self, node: ast.Call) -> bool:
        return self._callee(node) and all(map(self._statement, [*node.args, *node.keywords]))

    def _callee(self, node: ast.Call) -> bool:
        called = node.func
        if isinstance(called, ast.Name):
            if called.id in self._locals:
                return False
            if called.id in self._globals:
                return _reads_plain(self._globals[called.id], None, self._depth + 1)
            known = getattr(builtins, called.id, None)
            return called.id in _BUILTINS or _is_exception(known)
        if not isinstance(called, ast.Attribute):
            return False
        path = _path(called)
        if len(path) == 2 and path[0] == self._self and self._self is not None:
            method = inspect.getattr_static(type(self._owner), path[1], None)
            method = getattr(method, "__func__", method)
            if path[1] in getattr(self._owner, "__dict__", {}):
                return False
            return _reads_plain(method, self._owner, self._depth + 1)
        if len(path) == 2 and isinstance(self._module(path[0]), ModuleType):
            return self._is_known_function(path, node)
        return called.attr in _METHODS and self._statement(called.value)

    def _is_known_function(self, path: list[str], node: ast.Call) -> bool:
        module = self._module(path[0])
        if module is json:
            return path[1] in ("loads", "dumps") and not node.keywords
        if module is re:
            return path[1] in _PATTERN_CALLS and isinstance((*node.args, None)[0], ast.Constant)
        return module is math and not path[1].startswith("_")

    def _module(self, name: str) -> Any:
        return None if name in self._locals else self._globals.get(name)

    def _of_module(self, path: list[str]) -> Any:
        module = self._module(path[0])
        return getattr(module, path[1], None) if isinstance(module, ModuleType) else None


def _is_constant(value: Any) -> bool:
    """Whether nothing can change it, not even through another name (`x += [1]`)."""
    if type(value) in (tuple, frozenset):
        return all(map(_is_constant, value))
    return type(value) in PLAIN_VALUES or _is_exception(value)


def _is_exception(value: Any) -> bool:
    return value in _EXCEPTIONS if isinstance(value, type) else False


def _is_static(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "staticmethod"


def _defaults_are_plain(function: FunctionType) -> bool:
    defaults: Iterator[Any] = iter(
        [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    )
    return all(map(_is_constant, defaults))


def _path(node: ast.AST) -> list[str]:
    """["self", "config", "size"] of `self.config.size`; [] of what is no such chain."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []
