"""The record of a calibration beside a run's first weights: as it is, or in an envelope by whoever vouches for it.

What an opening cites is the record's own digest, with or without a signature. Law: an envelope whose signature is
wrong is no calibration.
"""

from dataclasses import dataclass

from archipel.identity import Envelope, IdentityError, verify
from archipel.proofs.citing import is_cited
from archipel.proofs.record import MAX_BYTES, RECORD_TYPE, BadCalibration
from archipel.records.measures import Measures

MAX_FILE_BYTES = 2 * MAX_BYTES
"""With its envelope, whose payload is base64."""
ENVELOPED = b'{"payload":'
"""How the canonical JSON of an envelope begins, and no record."""


@dataclass(frozen=True)
class Opened:
    """What such a file holds."""

    record: bytes
    signer: str | None
    """The key that vouches for it; None: nobody does."""


def opened(data: bytes) -> Opened:
    """The record of a file `calibration.json`.

    Raises:
        BadCalibration: too long, or an envelope whose signature is wrong; the record itself is read by others.
    """
    if len(data) > MAX_FILE_BYTES:
        raise BadCalibration(f"{len(data)} bytes; a calibration has at most {MAX_FILE_BYTES}")
    if not data.startswith(ENVELOPED):
        return Opened(data, None)
    try:
        envelope = Envelope.from_json(data)
        return Opened(envelope.payload, verify(envelope, RECORD_TYPE))
    except IdentityError as error:
        raise BadCalibration(f"the signature of the calibration: {error}") from None


def is_by(said: Measures, data: bytes, engine_class: str) -> bool:
    """Whether a run's opening says what follows from the record in this file (`proofs.citing.is_cited`)."""
    try:
        return is_cited(said, opened(data).record, engine_class)
    except BadCalibration:
        return False
