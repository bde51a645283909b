"""What every programme's recipe is: closed sections in TOML, one canonical encoding, one digest.

Laws: no I/O here; every value of a file has the TOML type that its key asks for, and none is turned into another,
but that a whole number may stand where a float is asked for; a recipe's digest is over its canonical JSON, so that
the file's comments and layout do not matter; floats stand there as their shortest decimal strings, because
canonical JSON holds none.
"""

import json
import tomllib
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.compute import MAX_PURPOSES, Purpose
from archipel.records.recipe_faults import explain

MAX_RECIPE_BYTES = 64 * 1024
"""A recipe is a page of settings, never a data file."""
MAX_CANONICAL_BYTES = 4 * MAX_RECIPE_BYTES
"""Defaults filled in and floats spelled out make it longer."""


class InvalidRecipe(ValueError):
    """The recipe cannot be used as it stands; the message lists every fault with its key."""


class Section(BaseModel):
    """Frozen, closed: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    LATER: ClassVar[frozenset[str]] = frozenset()
    """Keys that recipes did not always have: left out of the canonical bytes while they say their default, so that
    older recipes keep their digests. A section's own, beside those of what it is made from."""

    def spared(self) -> dict[str, Any]:
        """As `model_dump`, without what is `LATER` and says nothing."""
        fields, told = type(self).model_fields, {}
        later = {name for each in type(self).__mro__ for name in vars(each).get("LATER", ())}
        for name, value in self.model_dump(mode="json").items():
            given = getattr(self, name)
            if name not in later or given != fields[name].get_default(call_default_factory=True):
                told[name] = given.spared() if isinstance(given, Section) else value
        return told


class RunHeader(Section):
    """What every recipe says of its run."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """Of the run at its lab; small letters, digits and hyphens."""
    programme: str
    """What the run follows."""
    purposes: Annotated[tuple[Purpose, ...], Field(max_length=MAX_PURPOSES)] = ()
    """What it is for, by tags such as `medicine`: providers may pledge their machines to one."""

    LATER = frozenset({"purposes"})


class RecipeForm(Section):
    """What every programme's recipe can do."""

    run: RunHeader

    def canonical_bytes(self) -> bytes:
        """The recipe with every default filled in, as canonical JSON; floats as decimal strings."""
        sections = self.model_dump(mode="json") | {"run": self.run.spared()}
        return canonical_json(without_floats(sections))

    @classmethod
    def as_recorded(cls, sections: dict[str, Any]) -> dict[str, Any]:
        """What canonical JSON that leaves things out means; raises TypeError: sections that are no tables."""
        return sections

    @property
    def openings(self) -> "tuple[RecipeForm, ...]":
        """Every recipe that a run of this one may be opened with."""
        return (self,)

    @property
    def digest(self) -> str:
        """`sha256:...` over `canonical_bytes`."""
        return sha256_digest(self.canonical_bytes())

    @property
    def secret_name(self) -> str | None:
        """Name of the secret that only the trusted role holds, if the run has one."""
        return None

    @property
    def vain(self) -> str:
        """What the recipe asks for and can never come about; a file that does is refused, what a record says is not."""
        return ""

    @property
    def data_paths(self) -> tuple[str, ...]:
        """Files of the trusted machine that the run reads."""
        return ()


F = TypeVar("F", bound=RecipeForm)


def read_toml(text: str, form: type[F]) -> F:
    """Read a recipe of this form; raises InvalidRecipe."""
    if len(text.encode(errors="surrogatepass")) > MAX_RECIPE_BYTES:
        raise InvalidRecipe(f"recipe is larger than {MAX_RECIPE_BYTES} bytes; move data out of it")
    try:
        recipe = form.model_validate(_frozen(tomllib.loads(text)), strict=True)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRecipe(f"not valid TOML: {error}") from None
    except ValidationError as error:
        raise InvalidRecipe(explain(error)) from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, a thousand brackets
        raise InvalidRecipe(f"no recipe: {error!s:.200}") from None
    if recipe.vain:
        raise InvalidRecipe(recipe.vain)
    return recipe


def read_canonical(data: bytes, form: type[F]) -> F:
    """Read back a recipe of this form; raises InvalidRecipe.

    Floats stand there as strings; among an environment's parameters, where a string may be meant,
    as `{"float": "0.5"}`.
    """
    if len(data) > MAX_CANONICAL_BYTES:
        raise InvalidRecipe(f"recipe is larger than {MAX_CANONICAL_BYTES} bytes")
    try:
        sections = json.loads(data)
        parameters = sections.get("environment", {}).get("parameters", {})
        for key, value in parameters.items():
            if isinstance(value, dict):
                parameters[key] = float(value["float"])
        return form.model_validate(form.as_recorded(sections))
    except ValidationError as error:
        raise InvalidRecipe(explain(error)) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidRecipe(f"not a canonical recipe: {error!r:.200}") from None


def _frozen(value: Any) -> Any:
    """A TOML document with tuples for its arrays: what sections hold, which turn nothing into anything else."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def without_floats(value: Any) -> Any:
    """Floats become their shortest exact decimal string: canonical JSON holds no floats."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {key: without_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_floats(item) for item in value]
    return value


def names_file(key: str) -> bool:
    """Whether this parameter of an environment says where a file is."""
    return key == "path" or key.endswith("_path")
