"""What strangers send, parsed and verified, and how one log line shows it."""

import base64
import re

from archipel.identity import BadEnvelope, Envelope, IdentityError
from archipel.lab import refusals
from archipel.lab.entry import open_envelope
from archipel.records.statement import Statement
from archipel.records.statements import AnyStatement, InvalidRecord

_AUTHOR = re.compile(rb'"keyid":"(did:key:z[1-9A-Za-z]{1,64})"')


_PAYLOAD = re.compile(rb'"payload":"([A-Za-z0-9+/]*={0,2})"')
_WORK = b'"kind":"work.answered"'
"""In canonical JSON these bytes are in no text: quotes are escaped there."""


def open_record(data: bytes) -> tuple[Envelope, AnyStatement]:
    """Parse and verify what a stranger sent.

    Raises:
        Malformed, WronglySigned: accordingly.
    """
    try:
        envelope = Envelope.from_json(data)
        return envelope, open_envelope(envelope)
    except (InvalidRecord, BadEnvelope) as error:
        raise refusals.Malformed(str(error)) from None
    except IdentityError as error:
        raise refusals.WronglySigned(str(error)) from None


def author_of(data: bytes) -> str:
    """Whose statement an envelope says it is, unverified and hardly parsed; empty if it does not say."""
    said = _AUTHOR.search(data)
    return said[1].decode() if said else ""


def is_work(data: bytes) -> bool:
    """Whether an envelope brings the answer to a lease, unverified and hardly parsed."""
    said = _PAYLOAD.search(data)
    if said is None:
        return False
    try:
        return _WORK in base64.b64decode(said[1])
    except ValueError:
        return False


def event_fields(statement: Statement) -> dict[str, object]:
    """Who and what, for one log line: run, work and node ids where the statement has them."""
    fields: dict[str, object] = {"node": statement.author}
    for name in ("run", "work", "node", "deadline_ms", "reason"):
        if hasattr(statement, name):
            fields[name] = getattr(statement, name)
    for part in (getattr(statement, "spec", None), getattr(statement, "answer", None)):
        if part is not None:
            fields |= {
                "work_kind" if name == "kind" else name: getattr(part, name)
                for name in ("kind", "run", "version", "num_tokens")
                if hasattr(part, name)
            }
    return fields
