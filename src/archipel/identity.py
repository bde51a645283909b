"""Keys, signatures, envelopes: who said it, over exactly which bytes.

Parts: `Identity` (a private key in a file), `did:key` names for public keys, `verify_bytes` (one
strict Ed25519 rule for the whole project) and `Envelope` (DSSE v1, one signature).

Law: a signature is checked over the bytes that arrived, never over a re-encoding of their meaning.

Sources: RFC 8032 (Ed25519), W3C CCG did:key (multicodec 0xed01, base58btc), DSSE protocol v1.
"""

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from archipel.key_file import (
    Passphrase,
    Unusable,
    key_in,
    plain_file,
    read_private,
    sealed_file,
    write_private,
)
from archipel.records.base58 import BadBase58, base58_decode, base58_encode

MAX_ENVELOPE_BYTES = 65_535
"""An envelope fits one ledger entry, which fits a C2SP tile (16-bit length)."""
MAX_PAYLOAD_BYTES = 48_000
MAX_PAYLOAD_TYPE_CHARS = 128
DID_CHARS = 56
"""`did:key:z` and 47 base58 digits: every Ed25519 name has this length."""

_DID_PREFIX = "did:key:z"
_MULTICODEC_ED25519 = b"\xed\x01"
_FIELD_PRIME = 2**255 - 19
_Y_BITS = 2**255 - 1
"""The highest bit is the sign of x."""
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_LOW_ORDER_YS = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y})
_PAYLOAD_TYPE = re.compile(rf"[!#-\[\]-~]{{1,{MAX_PAYLOAD_TYPE_CHARS}}}")
_ENVELOPE = re.compile(
    rb'\{"payload":"([A-Za-z0-9+/=]*)","payloadType":"([!#-\[\]-~]*)",'
    rb'"signatures":\[\{"keyid":"([!#-\[\]-~]*)","sig":"([A-Za-z0-9+/=]*)"\}\]\}'
)
"""Canonical JSON of these fields alone, whose text needs no escape; base64 has more than one spelling."""
_KEYS_REMEMBERED = 16_384


class IdentityError(ValueError):
    """Something about a key, a name or a signature is not as it must be."""


class BadKeyFile(IdentityError):
    """The operator's own key file is unreadable, exposed or not an Ed25519 key."""


class BadDid(IdentityError):
    """A name that is no canonical Ed25519 `did:key`, or that nobody can own."""


class BadEnvelope(IdentityError):
    """Bytes that are no DSSE envelope in our form."""


class BadSignature(IdentityError):
    """A well-formed signature that does not hold."""


class Identity:
    """A private key and the name it gives its owner. Shows only the name."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key: bytes = private_key.public_key().public_bytes_raw()
        self.did: str = did_from_public_key(self.public_key)

    @classmethod
    def from_seed(cls, seed: bytes) -> "Identity":
        """The identity of a 32-byte RFC 8032 private key."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load(cls, path: Path, passphrase: Passphrase | None = None) -> "Identity":
        """Read a key that only its owner can read; `passphrase` is asked if it is sealed (`key_file`).

        Raises:
            FileNotFoundError: there is no such file.
            BadKeyFile: readable by others, not an Ed25519 key, or sealed by another passphrase.
        """
        try:
            name, seed = key_in(read_private(path), passphrase)
        except Unusable as error:
            raise BadKeyFile(f"{path} {error}") from None
        identity = cls.from_seed(seed)
        if name and name != identity.did:
            raise BadKeyFile(
                f"{path} is damaged: it is named {name}, and holds the key of {identity.did}; "
                "restore it from a copy, or delete it to get a new identity"
            )
        return identity

    @classmethod
    def load_or_create(cls, path: Path, passphrase: Passphrase | None = None) -> "Identity":
        """Read the key at `path`, making one (mode 0600, not sealed) on first use.

        Two processes that start at once share one key: the second link into place fails.
        """
        if not path.exists():
            cls(Ed25519PrivateKey.generate()).save(path)
        return cls.load(path, passphrase)

    def save(self, path: Path, passphrase: bytes = b"", *, anew: bool = False) -> bool:
        """Write the key to a file, sealed if there is a passphrase; whether it lies there now (`write_private`).

        Raises:
            BadKeyFile: such a passphrase is too long. OSError: it cannot be written.
        """
        seed = self._private_key.private_bytes_raw()
        try:
            data = (
                sealed_file(self.did, seed, passphrase)
                if passphrase
                else plain_file(self.did, seed)
            )
        except Unusable as error:
            raise BadKeyFile(f"{path} {error}") from None
        return write_private(path, data, anew=anew)

    def sign_bytes(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `message`."""
        return self._private_key.sign(message)

    def __repr__(self) -> str:
        return f"Identity({self.did})"


def did_from_public_key(public_key: bytes) -> str:
    """`did:key` name of a 32-byte Ed25519 public key."""
    return _DID_PREFIX + base58_encode(_MULTICODEC_ED25519 + public_key)


@lru_cache(_KEYS_REMEMBERED)
def did_to_public_key(did: str) -> bytes:
    """The 32-byte Ed25519 public key that `did` names.

    Raises:
        BadDid: not the one spelling of a key, or a key that anyone can sign for.
    """
    if not isinstance(did, str) or len(did) != DID_CHARS or not did.startswith(_DID_PREFIX):
        raise BadDid(f"got {did!r:.80}; expected {_DID_PREFIX}6Mk... of {DID_CHARS} characters")
    try:
        key = base58_decode(did.removeprefix(_DID_PREFIX))
    except BadBase58 as error:
        raise BadDid(str(error)) from None
    public_key = key.removeprefix(_MULTICODEC_ED25519)
    if len(public_key) != 32 or did_from_public_key(public_key) != did:
        raise BadDid(f"{did} does not hold a 32-byte Ed25519 key (multicodec 0xed01)")
    if not _is_canonical_and_of_high_order(public_key):
        raise BadDid(f"{did} is a low-order or non-canonical point: nobody can own it")
    return public_key


def verify_bytes(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Check an Ed25519 signature by the strict rule, so that no second signature can be derived.

    1. 64 bytes. 2. The key and R are canonical and not of low order. 3. S < L and the RFC 8032
    equation without cofactor, by libsodium, in half of OpenSSL's time.

    Raises:
        BadSignature: any of these fails.
    """
    if len(signature) != 64:
        raise BadSignature(f"an Ed25519 signature has 64 bytes; got {len(signature)}")
    for point in (public_key, signature[:32]):
        if not _is_canonical_and_of_high_order(point):
            raise BadSignature("the key or R is a low-order or non-canonical point")
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        raise BadSignature("the signature does not belong to these bytes and this key") from None


@dataclass(frozen=True)
class Envelope:
    """A DSSE envelope with exactly one signature; `payload` is kept as it arrived."""

    payload: bytes
    payload_type: str
    keyid: str
    """`did:key` of the signer. DSSE does not sign it, but a wrong one fails to verify."""
    signature: bytes

    def to_json(self) -> bytes:
        """Canonical JSON, the only form `from_json` takes."""
        return b'{"payload":"%b","payloadType":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}' % (
            base64.b64encode(self.payload),
            self.payload_type.encode(),
            self.keyid.encode(),
            base64.b64encode(self.signature),
        )

    @classmethod
    def from_json(cls, data: bytes, most: int = MAX_PAYLOAD_BYTES) -> "Envelope":
        """Parse without verifying. most: bytes of a payload; the envelope has half as many again at most.

        Raises:
            BadEnvelope: larger, or not what `to_json` writes.
        """
        limit = MAX_ENVELOPE_BYTES if most == MAX_PAYLOAD_BYTES else most * 3 // 2
        if len(data) > limit:
            raise BadEnvelope(f"{len(data)} bytes; the limit is {limit}")
        parts = _ENVELOPE.fullmatch(data)
        if parts is None:
            raise BadEnvelope(
                f"{data[:60]!r} is not the canonical JSON of a DSSE envelope with one signature: "
                "other or repeated fields, spaces, or another order"
            )
        payload, kind, keyid, signature = parts.groups()
        try:
            payload, signature = (base64.b64decode(d, validate=True) for d in (payload, signature))
        except ValueError as error:
            raise BadEnvelope(f"not base64: {error}") from None
        envelope = cls(payload, kind.decode(), keyid.decode(), signature)
        if envelope.to_json() != data:
            raise BadEnvelope("base64 that is not in its one spelling")
        _check_bounds(envelope.payload, envelope.payload_type, most)
        return envelope


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1 PAE: the bytes that are signed; lengths make the split unambiguous."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(
    identity: Identity, payload: bytes, payload_type: str, most: int = MAX_PAYLOAD_BYTES
) -> Envelope:
    """Sign `payload`, of so many bytes at most, as `payload_type`.

    Raises:
        BadEnvelope: payload or type beyond its limit.
    """
    _check_bounds(payload, payload_type, most)
    message = pre_authentication_encoding(payload_type, payload)
    return Envelope(payload, payload_type, identity.did, identity.sign_bytes(message))


def verify(envelope: Envelope, expected_type: str) -> str:
    """The `did:key` of whoever signed this envelope as an `expected_type`.

    1. The type is the one this door takes. 2. The name is a canonical key. 3. The signature holds
    over the type and the payload bytes. Does not show that the signer may say it, that it is true,
    or that it was not said before.

    Raises:
        BadEnvelope: another type. BadDid: no such key. BadSignature: it does not hold.
    """
    if envelope.payload_type != expected_type:
        raise BadEnvelope(f"type is {envelope.payload_type!r:.140}; expected {expected_type!r}")
    message = pre_authentication_encoding(envelope.payload_type, envelope.payload)
    verify_bytes(did_to_public_key(envelope.keyid), message, envelope.signature)
    return envelope.keyid


def _is_canonical_and_of_high_order(point: bytes) -> bool:
    """Whether these 32 bytes have y < p and a y that no point of order 1, 2, 4 or 8 has.

    Doubling (x, y) gives y' = (y^2 + x^2) / (1 - d x^2 y^2) on edwards25519. Orders 1 and 2 have
    y = 1 and -1, order 4 has y = 0, and order 8 doubles to y' = 0, so x^2 = -y^2, which the curve
    equation turns into d y^4 + 2 y^2 = 1: `_ORDER_8_Y` and its negative.
    """
    y = int.from_bytes(point, "little") & _Y_BITS
    return len(point) == 32 and y < _FIELD_PRIME and y not in _LOW_ORDER_YS


def _check_bounds(payload: bytes, payload_type: str, most: int) -> None:
    if len(payload) > most:
        raise BadEnvelope(f"payload has {len(payload)} bytes; the limit is {most}")
    if not isinstance(payload_type, str) or not _PAYLOAD_TYPE.fullmatch(payload_type):
        raise BadEnvelope(
            f"payload type {payload_type!r:.140} is not 1 to {MAX_PAYLOAD_TYPE_CHARS} "
            "printable ASCII characters without quotes and backslashes"
        )
