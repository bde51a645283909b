"""Keys of OpenSSF model signing: an elliptic curve key in a file that its owner alone can read, and its public half.

Ours are P-256; those of others may be P-384 and P-521. Laws: signing is deterministic (RFC 6979), so that a release
made twice is the same bytes; a key is named by its hint, the SHA-256 of its public PEM, as OMS does.
Form on disk: as `key_file` has it, a line with the key's name above PKCS#8 PEM, or above what a passphrase seals.
"""

import hashlib
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from archipel.key_file import (
    Passphrase,
    Unusable,
    is_sealed,
    key_in,
    name_in,
    read_private,
    sealed_file,
    write_private,
)
from archipel.release.oms.statement import BadOms

MAX_PUBLIC_BYTES = 4096
_NAME = "p256:"
_HASHES: Final = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
"""By the bits of the curve: OMS has these three."""


class PublicKey:
    """Whom a signature is believed of."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self.pem: bytes = key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.hint: str = hashlib.sha256(self.pem).hexdigest()

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Raises BadOms: no public key in PEM, or not of P-256, P-384 or P-521."""
        if len(data) > MAX_PUBLIC_BYTES:
            raise BadOms(f"a public key of {len(data)} bytes; at most {MAX_PUBLIC_BYTES}")
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
            raise BadOms(f"no public key in PEM: {error!s:.120}") from None
        return cls(_of_known_curve(key))

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` (DER) is this key's over `message`."""
        try:
            self._key.verify(signature, message, ec.ECDSA(_HASHES[self._key.curve.key_size]))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key. Shows only its hint."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    @classmethod
    def made(cls) -> Self:
        """A new one."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_scalar(cls, scalar: int) -> Self:
        """The key of a number below the curve's order."""
        return cls(ec.derive_private_key(scalar, ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path, passphrase: Passphrase | None = None) -> Self:
        """Read a key that only its owner can read; `passphrase` is asked if it is sealed.

        Raises:
            FileNotFoundError: there is no such file.
            Unusable: readable by others, no such key, or sealed by another passphrase.
        """
        try:
            data = read_private(path)
            name = name_in(data)
            key = cls(_unsealed(data, passphrase) if is_sealed(data) else _plain(data))
        except Unusable as error:
            raise Unusable(f"{path} {error}") from None
        if name is not None and name != _NAME + key.public.hint:
            raise Unusable(f"{path} is damaged: it is named {name}; restore it from a copy")
        return key

    def save(self, path: Path, passphrase: bytes = b"") -> bool:
        """Write it, mode 0600, sealed if there is a passphrase; False: a file lies there already.

        Raises:
            Unusable: such a passphrase is too long. OSError: it cannot be written.
        """
        name = _NAME + self.public.hint
        if passphrase:
            scalar = self._key.private_numbers().private_value.to_bytes(32, "big")
            return write_private(path, sealed_file(name, scalar, passphrase), anew=False)
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return write_private(path, f"name {name}\n".encode() + pem, anew=False)

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`, DER; the same each time."""
        return self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def __repr__(self) -> str:
        return f"SigningKey({self.public.hint})"


def key_of_certificate(data: bytes) -> PublicKey:
    """The key that a certificate (DER) speaks for; the certificate itself is not checked.

    Raises:
        BadOms: no certificate, or of another kind of key.
    """
    try:
        key = x509.load_der_x509_certificate(data).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        raise BadOms(f"no certificate: {error!s:.120}") from None
    return PublicKey(_of_known_curve(key))


def _of_known_curve(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in (
        "secp256r1",
        "secp384r1",
        "secp521r1",
    ):
        raise BadOms(f"a {type(key).__name__}; expected a key of P-256, P-384 or P-521")
    return key


def _plain(data: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        raise Unusable(f"is not an unencrypted PEM private key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise Unusable(
            f"holds a {type(key).__name__}; expected a P-256 key, as `archipel release key` makes"
        )
    return key


def _unsealed(data: bytes, passphrase: Passphrase | None) -> ec.EllipticCurvePrivateKey:
    _, scalar = key_in(data, passphrase)
    try:
        return ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1())
    except ValueError:
        raise Unusable(
            "seals no P-256 key; expected one that `archipel release key` made"
        ) from None
