"""A device's own Ed25519 key and the certificate over it, in files of its owner alone."""

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from archipel.identity import BadKeyFile, Identity
from archipel.key_file import Unusable, key_in, read_private, write_private
from archipel.records.canonical import sha256_digest

MAX_CERTIFICATE_BYTES = 2048
_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_TO = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
"""A device's clock may be wrong; a pairing ends when it is revoked. (RFC 5280, 4.1.2.5: this end means none.)"""


class NotOurs(ValueError):
    """Bytes that are no device's certificate."""


@dataclass(frozen=True)
class Credentials:
    """What a device proves by who it is."""

    key: Path
    """PKCS#8 PEM, mode 0600."""
    certificate: Path
    """PEM."""
    der: bytes
    """The certificate."""

    @property
    def name(self) -> str:
        """What the other devices know this one by."""
        return name_of(self.der)


def own_credentials(folder: Path) -> Credentials:
    """The key and certificate in this folder; made on first use.

    Raises:
        archipel.identity.BadKeyFile: a key that others can read, or none. OSError: it cannot be written.
    """
    key, certificate = folder / "device.key", folder / "device.crt"
    identity = Identity.load_or_create(key)
    try:
        seed = key_in(read_private(key), None)[1]
    except Unusable as error:
        raise BadKeyFile(f"{key} {error}") from None
    kept = _kept_certificate(certificate)
    if kept is None or kept.public_key() != Ed25519PrivateKey.from_private_bytes(seed).public_key():
        kept = _certificate(seed, identity.did)
        write_private(certificate, kept.public_bytes(Encoding.PEM), anew=True)
    return Credentials(key, certificate, kept.public_bytes(Encoding.DER))


def name_of(certificate: bytes) -> str:
    """What a certificate (DER) is called everywhere: its digest."""
    return sha256_digest(certificate)


def public_key_of(certificate: bytes) -> bytes:
    """The 32-byte Ed25519 key in a device's certificate (DER), which signed it.

    Raises:
        NotOurs: too long, no certificate, of another key, or not signed by it.
    """
    if len(certificate) > MAX_CERTIFICATE_BYTES:
        raise NotOurs(f"a device's certificate has at most {MAX_CERTIFICATE_BYTES} bytes")
    try:
        said = x509.load_der_x509_certificate(certificate)
        key = said.public_key()
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise NotOurs(f"not a certificate: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise NotOurs(f"the certificate is over a {type(key).__name__}; expected Ed25519")
    try:
        said.verify_directly_issued_by(said)
    except (ValueError, InvalidSignature, TypeError, UnsupportedAlgorithm) as error:
        raise NotOurs(f"the certificate is not signed by its own key: {error}") from None
    return key.public_bytes_raw()


def _kept_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _certificate(seed: bytes, did: str) -> x509.Certificate:
    """One key gives one certificate: Ed25519 draws nothing, nor does this."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, did)])
    serial = int.from_bytes(hashlib.sha256(did.encode()).digest()[:16], "big") | 1
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_FROM)
        .not_valid_after(_TO)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )
