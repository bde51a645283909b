"""JSON that a machine keeps for itself, with a digest of its own: other bytes than were written are noticed.

    {..., "sha256": "sha256:..."}      over the object without this member

Law: a flipped bit changes nothing that is read, or it is `Damaged`. Files from before there was a digest
are read as they are.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from archipel.records.canonical import sha256_digest

MEMBER = "sha256"
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


class Damaged(ValueError):
    """Bytes that are not what was kept."""


def kept(value: Mapping[str, Any], *, is_for_people: bool = True) -> bytes:
    """The object and its digest; keys are sorted, and for people each has a line, which takes ten times as long."""
    whole = {**value, MEMBER: _digest(dict(value))}
    return json.dumps(whole, indent=1 if is_for_people else None, sort_keys=True).encode()


def read_kept(data: bytes, *, strict: bool = False) -> dict[str, Any]:
    """The object. strict: one without a digest is damaged too.

    Raises:
        Damaged: no JSON object, or not the one that the digest is of.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Damaged(f"{len(data)} bytes that are no JSON object")
    said = value.pop(MEMBER, None)
    if said is None and not strict and not any(map(_is_digest, value.values())):
        return value
    if said != _digest(value):
        raise Damaged(f"{len(data)} bytes that do not have the digest that they name")
    return value


def _is_digest(value: Any) -> bool:
    """The digest, under a name that was damaged."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _digest(value: dict[str, Any]) -> str:
    return sha256_digest(json.dumps(value, sort_keys=True).encode())
