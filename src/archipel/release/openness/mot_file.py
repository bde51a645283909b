"""A model file of the public Model Openness Tool: which components its authors say there are, under which licences.

Law: what stands there is a claim, graded as one. A licence is found as the tool finds it: the component's own, else
that for its type, else that of the whole distribution; a component that says `unlicensed` has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archipel.release.openness.licences import MAX_LICENCE_CHARACTERS, TYPES
from archipel.release.openness.mof import PARTS, Reading, evaluate
from archipel.release.openness.plain_yaml import BadYaml, read_plain_yaml

MAX_MOT_COMPONENTS = 100
_NONE = frozenset({"", "unlicensed"})


class BadModelFile(ValueError):
    """The bytes are no model file; the message says which place is wrong."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a model file says."""

    name: str
    licences: Mapping[str, str | None]
    """Component -> its licence, resolved."""
    global_licences: Mapping[str, str]
    """`distribution`, `code`, `data`, `document` -> SPDX id."""
    own_licences: int
    """Components that name one of their own."""
    unknown: tuple[str, ...]
    """Names of components that the framework does not know."""

    def reading(self) -> Reading:
        """By the framework's rules, if all of it is believed."""
        return evaluate(self.licences)


def read_model_file(data: bytes) -> Claimed:
    """The claims of a model file.

    Raises:
        BadModelFile: not plain YAML (`plain_yaml`), or not the tool's form.
    """
    try:
        whole = read_plain_yaml(data)
    except BadYaml as error:
        raise BadModelFile(str(error)) from None
    release = _mapping(_mapping(whole, "the file").get("release"), "release")
    shared = _shared(release.get("license"))
    components = release.get("components") or []
    if not isinstance(components, list) or len(components) > MAX_MOT_COMPONENTS:
        raise BadModelFile(f"release.components is no list of at most {MAX_MOT_COMPONENTS}")
    licences: dict[str, str | None] = {}
    unknown, own = [], 0
    for number, each in enumerate(components):
        entry = _mapping(each, f"release.components[{number}]")
        name = _text(entry.get("name"), f"release.components[{number}].name")
        said = _licence(entry.get("license"), name) if "license" in entry else None
        own += said is not None and said not in _NONE
        if name not in PARTS:
            unknown.append(name)
        elif name in licences:
            raise BadModelFile(f"release.components names {name!r} twice")
        else:
            licences[name] = _resolved(said, name, shared)
    title = _text(release.get("name"), "release.name")
    return Claimed(title, licences, shared, own, tuple(unknown))


def _resolved(said: str | None, name: str, shared: Mapping[str, str]) -> str | None:
    if said is not None:
        return None if said in _NONE else said
    return shared.get(PARTS[name].type) or shared.get("distribution")


def _shared(value: Any) -> dict[str, str]:
    """Licences of a type, and of all."""
    found: dict[str, str] = {}
    for key, each in _mapping(value or {}, "release.license").items():
        if key not in {"distribution", *TYPES}:
            raise BadModelFile(
                f"release.license.{key:.40} is none of distribution, code, data, document"
            )
        named = _licence(_mapping(each or {}, f"release.license.{key}").get("name"), key)
        if named is not None and named not in _NONE:
            found[key] = named
    return found


def _licence(value: Any, of: str) -> str | None:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_LICENCE_CHARACTERS:
        raise BadModelFile(
            f"the licence of {of!r:.60} is no text of at most {MAX_LICENCE_CHARACTERS}"
        )
    return value


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadModelFile(f"{where} is no mapping; expected a model file of the openness tool")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > 300:
        raise BadModelFile(f"{where} is no text of at most 300 characters")
    return value
