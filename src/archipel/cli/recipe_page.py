"""`docs/reference/recipe.md`: every section and key of a recipe, from the schema that reads recipes.

Law: nothing about a key stands here; its type, default, bounds and meaning come from `records.recipe`, an
environment's parameters from what it reads, a loss's and an algorithm's meaning from where it is computed.
"""

import ast
import importlib
import inspect
import itertools
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from archipel.records.recipe import AlgorithmSection, LossSection, Recipe
from archipel.records.recipe_door import DoorRecipe
from archipel.records.recipe_form import RecipeForm
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.training import losses
from archipel.training.environments.environment import environment_names, parameters_of

HEAD = """\
# What a recipe may say

A recipe is a TOML file. `archipel recipe list` names the shipped ones, `archipel recipe show NAME` prints \
one (`--full`: with every default written out), `archipel recipe check FILE` says what is wrong with yours. \
An unknown key is an error, never ignored, and so is a value of another type than the key's: nothing is turned into \
something else (`"8"`, `8.0` and `true` are no integers, `1` and `"yes"` are not `true`), but that a number may be \
written without its point. `[run]` and `[environment]` are required; every other section may \
be left out.

This page is written by `archipel recipe reference`; a test fails when it is not current.
"""

PRETRAINING = """
# A recipe of pretraining

With `programme = "pretrain"` in `[run]`, a run trains a model from text across sites: members each train alone, and \
the trusted role merges how their weights moved. `[run]` and `[corpus]` are required; `[model]` and `[charter]` are as \
above; the other sections of a run of reinforcement learning mean nothing here and are refused.
"""
DOOR = """
# A recipe of a door's work

With `programme = "door"` in `[run]`, nodes of the network do the work of a door that others train their own adapters \
through (`archipel door`). `[run]` and `[door]` are required. The model is the one that the run is opened with.
"""
NOTHING: Mapping[str, type] = {}


def reference() -> str:
    """The whole page."""
    parts = [HEAD, *_sections(Recipe), *_environments(), *_choices(), PRETRAINING]
    told = section_types()
    parts += _sections(PretrainRecipe, told, " of pretraining")
    parts += [DOOR, *_sections(DoorRecipe, told, " of a door")]
    return "\n".join(parts).rstrip() + "\n"


def section_types(form: type[RecipeForm] = Recipe) -> dict[str, type]:
    """Section name -> the class that reads it."""
    return {name: _class_of(field.annotation) for name, field in form.model_fields.items()}


def _class_of(annotation: Any) -> type:
    named = [each for each in (annotation, *get_args(annotation)) if hasattr(each, "model_fields")]
    found: type = named[0]
    return found


def _sections(
    of: type[RecipeForm], told: Mapping[str, type] = NOTHING, whose: str = ""
) -> Iterator[str]:
    """told: what stands on the page already; whose: said of every section."""
    schema = of.model_json_schema()
    for name, section in section_types(of).items():
        if told.get(name) is section:
            continue
        yield f"## [{name}]{whose}\n"
        yield f"{_text(section.__doc__)}\n"
        if name not in schema.get("required", []) and of.model_fields[name].default is None:
            yield "Absent unless the recipe has this section.\n"
        yield "| key | type | default | bounds | meaning |"
        yield "|---|---|---|---|---|"
        meanings = meanings_of(section)
        described = schema["$defs"][section.__name__]
        for key, form in described["properties"].items():
            default = (
                "required" if key in described.get("required", []) else _value(form.get("default"))
            )
            cells = (f"`{key}`", _type(form), default, _bounds(form), meanings.get(key, ""))
            yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"
        yield ""


def meanings_of(section: type) -> dict[str, str]:
    """Key -> the text below it in the class, or in one that it extends."""
    found: dict[str, str] = {}
    for part in reversed(inspect.getmro(section)):
        if part.__module__.startswith("archipel."):
            found |= dict(_documented(part))
    return found


def _documented(section: type) -> Iterator[tuple[str, str]]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for field, said in itertools.pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant):
            yield field.target.id, _line(str(said.value.value))


def _type(form: dict[str, Any]) -> str:
    if "anyOf" in form:
        return " or ".join(_type(each) for each in form["anyOf"] if each.get("type") != "null")
    if form.get("type") == "array":
        return f"list of {_type(form['items'])}"
    named = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false"}
    return named.get(form.get("type", ""), "table")


def _bounds(form: dict[str, Any]) -> str:
    if "anyOf" in form:
        return "; ".join(_bounds(each) for each in form["anyOf"] if each.get("type") != "null")
    if form.get("type") == "array":
        return f"some of {_bounds(form['items'])}"
    if "enum" in form or "const" in form:
        return ", ".join(f"`{choice}`" for choice in form.get("enum", [form.get("const")]))
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {form[name]:,}" for name, sign in signs.items() if name in form]
    found += [f"`{form['pattern']}`"] if "pattern" in form else []
    found += [f"at most {form['maxLength']:,} characters"] if "maxLength" in form else []
    return ", ".join(found)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _environments() -> Iterator[str]:
    yield "## Environments and their parameters\n"
    yield (
        "`environment.name` is one of these; `[environment.parameters]` is a table of its own. What they are for, "
        "and what counts as the same answer: [environments.md](environments.md).\n"
    )
    for name in environment_names():
        said, declared = parameters_of(name)
        yield f"### {name}\n"
        yield f"{_text(said)}\n"
        yield "| parameter | type | default | expected |"
        yield "|---|---|---|---|"
        for each in declared:
            default = "required" if each.default is None else _value(each.default)
            kind = {"flag": "true or false"}.get(each.kind, each.kind)
            expected = "" if each.kind == "flag" else each.expected
            yield "| " + " | ".join(map(_cell, (f"`{each.key}`", kind, default, expected))) + " |"
        yield ""


def _choices() -> Iterator[str]:
    yield "## Losses\n"
    yield f"{_text((losses.__doc__ or '').split('|')[0])}\n"
    for name in _literals(LossSection, "name"):
        yield f"- `{name}`: {_line(getattr(losses, name).__doc__)}"
    yield "\n## Algorithms\n"
    for name in _literals(AlgorithmSection, "name"):
        module = importlib.import_module(f"archipel.training.algorithms.{name}")
        yield f"- `{name}`: {_line(module.__doc__)}"


def _literals(section: Any, key: str) -> tuple[str, ...]:
    return get_args(section.model_fields[key].annotation)


def _text(said: str | None) -> str:
    """A docstring as running text, its paragraphs kept, and what is indented in it as it stands."""
    paragraphs = inspect.cleandoc(said or "").split("\n\n")
    return "\n\n".join(
        f"```text\n{textwrap.dedent(each)}\n```"
        if each.startswith("    ")
        else " ".join(each.split())
        for each in paragraphs
    )


def _line(said: str | None) -> str:
    return " ".join((said or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
