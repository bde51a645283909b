"""Readers of what other devices say to one of a pool, and of its list of them."""

import base64
import tempfile
from functools import cache
from pathlib import Path

from archipel.records.canonical import canonical_json
from archipel.serve.pool.credentials import NotOurs, own_credentials, public_key_of
from archipel.serve.pool.links import LinkLost, read_header
from archipel.serve.pool.paired import BadPairing, PairedDevices, read_paired
from archipel.serve.pool.pairing import (
    NotPaired,
    PairAnswer,
    PairWish,
    read_answer,
    read_code,
    read_wish,
)
from fuzz.reading import Reader


@cache
def _made() -> tuple[bytes, bytes]:
    """(a device's certificate, a list with it)."""
    with tempfile.TemporaryDirectory() as folder:
        own, path = own_credentials(Path(folder)), Path(folder) / "list"
        PairedDevices(path).add(own.der, "desk", 1)
        return own.der, path.read_bytes()


def readers() -> dict[str, Reader]:
    """One for each kind."""
    certificate, listed = _made()
    wish = PairWish(
        label="desk",
        certificate=base64.b64encode(certificate).decode(),
        secret="0" * 20,
        signature="0" * 128,
    )
    answer = PairAnswer(say="paired", label="desk")
    return {
        "pool headers": Reader(read_header, (b"{}", canonical_json({"do": "x"})), (LinkLost,)),
        "pool certificates": Reader(public_key_of, (certificate,), (NotOurs,)),
        "pool wishes": Reader(
            lambda data: public_key_of(read_wish(read_header(data)).der()),
            (canonical_json(wish.model_dump()),),
            (LinkLost, NotPaired, NotOurs),
        ),
        "pool answers": Reader(
            lambda data: read_answer(read_header(data)),
            (canonical_json(answer.model_dump()),),
            (LinkLost, NotPaired),
        ),
        "pool lists": Reader(read_paired, (listed,), (BadPairing,)),
        "pool codes": Reader(
            lambda data: read_code(data.decode("utf-8", "replace")),
            (b"ABCD-" * 7 + b"ABCD",),
            (NotPaired,),
        ),
    }
