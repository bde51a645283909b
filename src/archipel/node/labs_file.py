"""Which labs a node serves and what each weighs: `labs.toml` in its home, or addresses from a command line.

Parts: `Served` (one lab), `Labs` (all of them, with what weighs), `read_labs`, `weights_of` (pure). Law: only what the
operator wrote decides whom the machine serves; what a lab pays moves its weight within `MOST_PAID`, and counts only where
the operator said what the lab's credit is worth.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archipel.node.address import BadAddress, lab_addresses
from archipel.records.compute import Purpose
from archipel.records.fields import Did
from archipel.records.recipe_faults import explain

FILE = "labs.toml"
MAX_LABS = 32
MAX_FILE_BYTES = 65_536
MAX_PATTERNS = 32
MAX_MIRRORS = 16
MOST_PAID = 4.0
"""A lab weighs at most so many times more, or less, for what it pays."""
_Pattern = Annotated[str, Field(pattern=r"^[a-z0-9*?-]{1,64}$")]
_Place = Annotated[str, Field(min_length=1, max_length=2048)]
_Weight = Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)]


class BadLabs(ValueError):
    """Not which labs a node may serve; the message says what to change."""


class Served(BaseModel):
    """One lab, as the operator of this machine sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    at: Annotated[str, Field(min_length=1, max_length=8192)]
    """Its address, or several with commas."""
    weight: _Weight = 1.0
    """Of its part of the machine's time, beside the others'."""
    key: Did | None = None
    """The key that it must have; None: the one that it had when it was first met."""
    trusted: bool = False
    """The operator vouches for it: it weighs its whole weight."""
    runs: Annotated[tuple[_Pattern, ...], Field(max_length=MAX_PATTERNS, strict=False)] = ()
    """Only runs with such names, with * and ?; none: any."""
    purposes: Annotated[tuple[Purpose, ...], Field(max_length=MAX_PATTERNS, strict=False)] = ()
    """Only runs that declare such a purpose; none: any."""
    mirrors: Annotated[tuple[_Place, ...], Field(max_length=MAX_MIRRORS, strict=False)] = ()
    """Where this lab's blobs are asked for before it; nothing from there is believed."""
    credit_worth: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] = 0.0
    """What one of its credits is worth to the operator, in any one unit; 0: what it pays does not count."""

    def takes(self, run: str, purposes: Sequence[str]) -> bool:
        """Whether work of a run with these purposes is done for it. Both rules must let it pass, where both are given."""
        is_named = not self.runs or any(fnmatchcase(run, each) for each in self.runs)
        return is_named and (not self.purposes or not {*self.purposes}.isdisjoint(purposes))

    @property
    def is_particular(self) -> bool:
        """Whether it takes some runs and no others."""
        return bool(self.runs or self.purposes)


class Weighing(BaseModel):
    """What moves a lab's weight, besides what is written there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    untrusted: Annotated[float, Field(ge=0.001, le=1, allow_inf_nan=False)] = 1.0
    """Weight of a lab that is not `trusted`, as a part of its own."""
    price: bool = False
    """A lab weighs as many times more as an hour's work there was worth more than at the others."""
    longest_minutes: Annotated[float, Field(ge=1, le=100_000, allow_inf_nan=False)] = 60.0
    """A lease that takes longer is given back, so that no lab keeps the machine from the others."""


class Labs(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rules: Weighing = Field(default_factory=Weighing)
    labs: Annotated[tuple[Served, ...], Field(min_length=1, max_length=MAX_LABS, strict=False)]


@dataclass(frozen=True, slots=True)
class Paid:
    """What a lab paid this node so far, as the node counted."""

    credit_micro: int = 0
    busy_s: float = 0.0


def read_labs(home: Path, given: Sequence[str] = (), keys: Mapping[str, str] | None = None) -> Labs:
    """What `home/labs.toml` says, and the labs given besides; one that both name is as the file says. keys: of labs that
    are given, those that they must have.

    Raises:
        BadLabs: there is none, the file is no such file, or two entries share an address.
        OSError: it cannot be read.
    """
    path = home / FILE
    data = b""
    if path.is_file():
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    if not data and not given:
        raise BadLabs(f"no lab to serve: name one with --lab URL, or write {path}")
    known = parse_labs(data, str(path)) if data else None
    served = list(known.labs) if known is not None else []
    taken = {address for each in served for address in addresses(each)}
    others = [text for text in given if taken.isdisjoint(lab_addresses(text))]
    served += [Served(at=text, key=(keys or {}).get(text)) for text in others]
    if len(served) > MAX_LABS:
        raise BadLabs(f"{len(served)} labs; a node serves at most {MAX_LABS}")
    found = Labs(rules=known.rules if known is not None else Weighing(), labs=tuple(served))
    _check_apart(found)
    return found


def parse_labs(data: bytes, source: str) -> Labs:
    """The file's bytes. Raises BadLabs."""
    if len(data) > MAX_FILE_BYTES:
        raise BadLabs(
            f"{source} holds {len(data)} bytes or more; at most {MAX_FILE_BYTES} are read"
        )
    try:
        found = Labs.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        raise BadLabs(f"{source}, {explain(error)}") from None
    except (ValueError, RecursionError) as error:  # TOML's own is one; so is 5,000 digits
        raise BadLabs(f"{source} is no TOML: {error!s:.200}") from None
    _check_apart(found)
    return found


def addresses(served: Served) -> tuple[str, ...]:
    """Where the lab answers. Raises BadLabs."""
    try:
        return lab_addresses(served.at)
    except BadAddress as error:
        raise BadLabs(str(error)) from None


def name_of(served: Served) -> str:
    """The lab's name on this machine: its addresses, as they are given on a command line."""
    return ",".join(addresses(served))


def _check_apart(found: Labs) -> None:
    seen: set[str] = set()
    for each in found.labs:
        if not seen.isdisjoint(addresses(each)):
            raise BadLabs(
                f"{each.at} is named twice; addresses of one lab belong into one entry, with commas"
            )
        seen.update(addresses(each))
        for mirror in each.mirrors:
            _check_mirror(each, mirror)


def _check_mirror(served: Served, mirror: str) -> None:
    try:
        found = lab_addresses(mirror)
    except BadAddress as error:
        raise BadLabs(f"mirrors of {served.at}: {error}") from None
    if len(found) > 1:
        raise BadLabs(f"mirrors of {served.at}: {mirror} is {len(found)} addresses; give one each")


def weights_of(labs: Labs, paid: Mapping[str, Paid]) -> dict[str, float]:
    """Name -> weight, by what the operator wrote and, if it counts, by what was paid."""
    hourly = {name_of(each): _hourly(each, paid.get(name_of(each), Paid())) for each in labs.labs}
    told = [worth for worth in hourly.values() if worth is not None]
    mean = sum(told) / len(told) if told else 0.0
    weights = {}
    for each in labs.labs:
        weight = each.weight * (1.0 if each.trusted else labs.rules.untrusted)
        worth = hourly[name_of(each)]
        if labs.rules.price and worth is not None and mean > 0:
            weight *= min(max(worth / mean, 1 / MOST_PAID), MOST_PAID)
        weights[name_of(each)] = weight
    return weights


MIN_MEASURED_S = 60.0
"""Less work than this says nothing of what an hour brings."""


def _hourly(served: Served, paid: Paid) -> float | None:
    """What an hour there was worth; None: nobody can tell yet, or it does not count."""
    if not served.credit_worth or paid.busy_s < MIN_MEASURED_S:
        return None
    return served.credit_worth * paid.credit_micro / 1e6 * 3600 / paid.busy_s
