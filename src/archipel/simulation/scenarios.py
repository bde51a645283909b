"""Scenarios by name, and how a person changes one: a table of TOML, or `section.field=value`."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from archipel.simulation.scenario import (
    CannotSimulate,
    Crowd,
    Learning,
    Market,
    Policy,
    Scenario,
    Spreading,
)

MAX_BYTES = 64 * 1024
MAX_BITS = 1000
"""Of a whole number where a float is expected: one holds 1024."""
NOT_TOML = (ValueError, RecursionError)
"""TOML's own error is a ValueError; so is a number of 5,000 digits. A thousand brackets are the other."""
HOME_KINDS = ("rtx3090", "rtx4090", "rtx5090", "m3-ultra")
LARGE_KINDS = ("rtx4090", "rtx5090", "l40s", "a100-80", "h100", "h200", "b200", "m3-ultra")
TRILLION = Policy(model="", params=1e12, active=3.2e10, quant="q8")

SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (
        Scenario(
            name="small",
            title="an 8B model, a learner of 8 H100, 200 machines of every kind, one in twenty cheats",
            crowd=Crowd(providers=200, cheats=0.05),
        ),
        Scenario(
            name="crowd",
            title="ten thousand home machines for a day, one in fifty cheats",
            hours=24.0,
            policy=Policy(model="", params=4e9),
            learning=Learning(
                accelerators=32, groups=512, lease=2, tokens=8000, most_tokens=32_768
            ),
            crowd=Crowd(providers=10_000, kinds=HOME_KINDS, cheats=0.02),
            market=Market(look_s=15.0, period_s=7200.0, explore_permille=500),
        ),
        Scenario(
            name="echo2-4b",
            title="as ECHO-2: a 4B model, rented RTX 5090, staleness 6, answers not audited",
            hours=4.0,
            audited=False,
            policy=Policy(model="", params=4e9),
            learning=Learning(staleness=6, lease=2, colocated=True),
            crowd=Crowd(providers=100, kinds=("rtx5090",)),
            market=Market(period_s=600.0, explore_permille=500, reserve=0.4),
        ),
        Scenario(
            name="echo2-8b",
            title="as ECHO-2: an 8B model, rented RTX 5090, staleness 6, answers not audited",
            hours=4.0,
            audited=False,
            policy=Policy(model="llama-3-8b"),
            learning=Learning(staleness=6, lease=2, colocated=True),
            crowd=Crowd(providers=150, kinds=("rtx5090",)),
            market=Market(period_s=600.0, explore_permille=500, reserve=0.4),
        ),
        Scenario(
            name="trillion",
            title="post-training of a trillion parameters (32 billion used a token) over thousands of providers",
            hours=12.0,
            policy=TRILLION,
            learning=Learning(
                accelerator="h200", accelerators=1024, groups=256, group_size=32, staleness=4,
                tokens=16_000, most_tokens=65_536,
            ),
            crowd=Crowd(providers=5000, kinds=LARGE_KINDS, site=16, cheats=0.02),
            market=Market(look_s=15.0, period_s=7200.0, explore_permille=500),
            spreading=Spreading(lab_gbit_s=10.0),
        ),
    )
}  # fmt: skip

SECTIONS = ("policy", "learning", "crowd", "market", "spreading")


def named(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        CannotSimulate: there is none.
    """
    if name not in SCENARIOS:
        raise CannotSimulate(f"no scenario {name}; expected one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def read(text: str) -> Scenario:
    """A scenario out of TOML: `like` names one to begin with, the rest replaces its fields.

    Raises:
        CannotSimulate: not TOML, an unknown key, or a value of another type.
    """
    if len(text.encode()) > MAX_BYTES:
        raise CannotSimulate(
            f"a scenario of {len(text):,} characters; expected at most {MAX_BYTES:,} bytes"
        )
    try:
        table = tomllib.loads(text)
    except NOT_TOML as error:
        raise CannotSimulate(f"not TOML: {error!s:.200}") from None
    changed: Scenario = _changed(named(str(table.pop("like", "small"))), table, "")
    return changed


def with_settings(scenario: Scenario, settings: Sequence[str]) -> Scenario:
    """With each `section.field=value` (or `field=value`), read as TOML.

    Raises:
        CannotSimulate: as `read`.
    """
    for text in settings:
        name, sign, value = text.partition("=")
        if not sign or not name.replace(".", "").replace("_", "").isalnum():
            raise CannotSimulate(
                f"got {text[:80]!r}; expected SECTION.FIELD=VALUE, e.g. crowd.providers=500"
            )
        try:
            table = tomllib.loads(f"{name} = {value}")
        except NOT_TOML:
            raise CannotSimulate(
                f"got {text[:80]!r}; expected a number, true, false or a text in quotes after ="
            ) from None
        scenario = _changed(scenario, table, "")
    return scenario


def _changed(value: Any, table: Mapping[str, Any], where: str) -> Any:
    known, changes = {field.name for field in fields(value)}, dict[str, Any]()
    for name, given in table.items():
        if name not in known:
            raise CannotSimulate(
                f"{where}{name}: unknown; expected one of {', '.join(sorted(known))}"
            )
        before = getattr(value, name)
        if is_dataclass(before) and isinstance(given, dict):
            changes[name] = _changed(before, given, f"{where}{name}.")
        else:
            changes[name] = _fitting(before, given, f"{where}{name}")
    return replace(value, **changes)


def _fitting(before: Any, given: Any, where: str) -> Any:
    """The value, of the type of the one that it replaces."""
    if (
        isinstance(before, tuple)
        and isinstance(given, list)
        and all(isinstance(each, str) for each in given)
    ):
        return tuple(given)
    if isinstance(before, float) and type(given) is int:
        if given.bit_length() > MAX_BITS:
            raise CannotSimulate(
                f"{where}: got a number of {given.bit_length()} bits, expected at most {MAX_BITS}"
            )
        return float(given)
    if type(given) is not type(before):
        expected = "a list of texts" if isinstance(before, tuple) else f"{type(before).__name__}"
        raise CannotSimulate(f"{where}: got {given!r:.60}, expected {expected}")
    return given
