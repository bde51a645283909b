"""A lab's state as canonical bytes, and back: equal states give equal bytes.

Law: a form once written stays what it is. Whatever changes the bytes of an equal state (a field more in
`Node`, `Run` or a slice) is another FORMAT; who still writes an earlier one beside it names both in ENCODERS,
and a replay compares the snapshots of these and no others.

The slices of programmes and attached kinds are read by the types that their rules name.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from archipel.lab.kinds import RULES_OF
from archipel.lab.programmes import RULES_OF as PROGRAMME_OF
from archipel.lab.state import LabState, Run
from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical
from archipel.records.table import Table

FORMAT = 10
"""Of what `encode_state` writes and `decode_state` reads."""
ROWS_AT_ONCE = 200
"""Rows of a table that are encoded in one call: some milliseconds."""
LARGE = ("runs", "markets", "owned")
"""Tables of which a row by itself may be large."""
SINCE_10 = frozenset({"successors", "succeeded"})
"""Fields of the state that form 9 had not."""
SINCE_9 = frozenset({"paused"}) | SINCE_10
"""Fields of the state that form 8 had not."""
SINCE_8 = frozenset({"pool", "granted", "persons", "pledged"}) | SINCE_9
"""Fields of the state that form 7 had not."""
SINCE_7 = frozenset({"owned", "deciding", "meters"}) | SINCE_8
"""Fields of the state that form 6 had not."""
SPARED = frozenset({"compute"})
"""Fields that are written only where they hold something: a state without them is written as before there were any, and
no release that knew the form without them folds a ledger that fills them.
"""
_NOTHING = LabState(lab="")


class BadSnapshot(ValueError):
    """Bytes that are no snapshot of this format."""


@dataclass(frozen=True, slots=True)
class _Saved:
    format: int
    state: LabState


_STATE = TypeAdapter(_Saved)


def encode_state(state: LabState) -> bytes:
    """Canonical JSON, made in pieces: one call for all of it would keep the interpreter from every other
    thread, for seconds in a large lab.
    """
    return _encoded(state, FORMAT, frozenset())


def _encode_6(state: LabState) -> bytes:
    """As releases wrote it that knew no owners; a state that has none gives the bytes that they gave."""
    return _encoded(state, 6, SINCE_7)


def _encode_7(state: LabState) -> bytes:
    """As releases wrote it that knew no pool."""
    return _encoded(state, 7, SINCE_8)


def _encode_8(state: LabState) -> bytes:
    """As releases wrote it that knew no paused nodes."""
    return _encoded(state, 8, SINCE_9)


def _encode_9(state: LabState) -> bytes:
    """As releases wrote it that knew no successors."""
    return _encoded(state, 9, SINCE_10)


def _encoded(state: LabState, form: int, unknown: frozenset[str]) -> bytes:
    """unknown: fields that this form has not."""
    found = {each.name: getattr(state, each.name) for each in fields(LabState)}
    tables = {name: value for name, value in found.items() if isinstance(value, Table)}
    empty: dict[str, Any] = dict.fromkeys(tables, Table())
    rest = _dumped(replace(state, **empty))
    rest["operators"] = sorted(rest["operators"])
    members = {name: _table(name, tables[name]) for name in tables}
    members |= {name: canonical_json(rest[name]) for name in rest.keys() - members.keys()}
    silent = {name for name in SPARED if not found[name]}
    names = sorted(members.keys() - unknown - silent)
    body = b",".join(canonical_json(name) + b":" + members[name] for name in names)
    return b'{"format":%d,"state":{%b}}' % (form, body)


def _table(name: str, table: Table[str, Any]) -> bytes:
    """A table of the state; a run by itself may be large, the rows of the others are small."""
    keys, step = sorted(table), 1 if name in LARGE else ROWS_AT_ONCE
    parts = []
    for start in range(0, len(keys), step):
        rows = Table({key: table[key] for key in keys[start : start + step]})
        piece: dict[str, Any] = {name: rows}
        dumped = _dumped(replace(_NOTHING, **piece))
        parts.append(canonical_json(dumped[name])[1:-1])
    return b"{" + b",".join(parts) + b"}"


def _dumped(state: LabState) -> dict[str, Any]:
    value = _STATE.dump_python(_Saved(FORMAT, state), mode="json", fallback=_plain)
    dumped: dict[str, Any] = value["state"]
    return dumped


ENCODERS: Mapping[int, Callable[[LabState], bytes]] = {
    6: _encode_6,
    7: _encode_7,
    8: _encode_8,
    9: _encode_9,
    FORMAT: encode_state,
}
"""The forms in which this release can still write a state."""


def decode_state(data: bytes) -> LabState:
    """The state that `encode_state` was given.

    Raises:
        BadSnapshot: it is none, or of another format.
    """
    try:
        parse_canonical(data)
        saved = _STATE.validate_json(data)
        if saved.format != FORMAT:
            raise BadSnapshot(f"a snapshot of format {saved.format}, expected {FORMAT}")
        state = saved.state
        runs = state.runs.put_all((name, _typed(run)) for name, run in state.runs.items())
    except (NotCanonical, ValidationError, KeyError, TypeError) as error:
        raise BadSnapshot(f"not a snapshot of a lab's state: {error!r:.200}") from None
    return replace(state, runs=runs)


def _plain(value: Any) -> Any:
    """What pydantic does not know inside a slice."""
    if isinstance(value, Table):
        return dict(value)
    raise TypeError(f"a snapshot cannot hold {type(value).__name__}")


def _typed(run: Run) -> Run:
    programme = PROGRAMME_OF[run.opened.pace.programme]
    attached = {}
    for kind, raw in run.attached.items():
        kind_slice = RULES_OF[kind].slice
        if kind_slice is None:
            raise BadSnapshot(f"kind {kind} has no slice of its own")
        attached[kind] = _read(kind_slice, raw)
    return replace(run, course=_read(programme.slice, run.course), attached=attached)


def _read(kind: type, raw: Any) -> Any:
    return _adapter(kind).validate_json(json.dumps(raw))


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
