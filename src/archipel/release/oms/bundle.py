"""A statement, its signature and what it is checked with: a Sigstore bundle v0.3 that holds a DSSE envelope.

Three methods: a key that the verifier has and the bundle hints at, a certificate chain, Sigstore. All three are read;
`verify` checks a key's, and for the others the signature by the certificate that the bundle brings, which shows that
the bundle is whole and not whose the certificate is. Source: OMS 1.0, envelope and bundle; DSSE v1.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from archipel.identity import pre_authentication_encoding
from archipel.release.oms.key import PublicKey, key_of_certificate
from archipel.release.oms.statement import (
    MAX_STATEMENT_BYTES,
    PAYLOAD_TYPE,
    BadOms,
    SignedFiles,
    read_json,
    read_statement,
)

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BUNDLE_BYTES = 256 * 1024 * 1024
MAX_SIGNATURE_BYTES = 1024
MAX_CERTIFICATES = 16
MAX_CERTIFICATE_BYTES = 16 * 1024
Method = Literal["key", "certificate", "sigstore"]

_HINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """One signature; `payload` is kept as it arrived."""

    payload: bytes
    signature: bytes
    """DER."""
    method: Method
    hint: str | None
    """Of a key's: SHA-256 of its public PEM. None: an older bundle, which names no key."""
    certificate: bytes | None
    """Of the other two: the signer's certificate, DER."""

    def to_bytes(self) -> bytes:
        """As this writer spells a key's bundle; one of our own that reads otherwise was changed.

        Raises:
            ValueError: of another method, which this writer does not make.
        """
        if self.method != "key" or self.hint is None:
            raise ValueError(f"a bundle signed by {self.method} is not ours to write")
        return _written(self.payload, self.signature, self.hint)


def _written(payload: bytes, signature: bytes, hint: str) -> bytes:
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    whole = {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return json.dumps(whole, separators=(",", ":"), sort_keys=True).encode()


def signed_bytes(payload: bytes) -> bytes:
    """What a signature of OMS is over: DSSE's encoding of a statement."""
    return pre_authentication_encoding(PAYLOAD_TYPE, payload)


def read_bundle(data: bytes) -> Bundle:
    """Parse without verifying.

    Raises:
        BadOms: another media type, no envelope, no verification material, or beyond its bounds.
    """
    said = read_json(data, MAX_BUNDLE_BYTES, "signature bundle")
    if said.get("mediaType") != MEDIA_TYPE:
        raise BadOms(f"mediaType is {str(said.get('mediaType'))!r:.100}; expected {MEDIA_TYPE!r}")
    payload, signature = _envelope(said.get("dsseEnvelope"))
    method, hint, certificate = _material(said.get("verificationMaterial"))
    return Bundle(payload, signature, method, hint, certificate)


def verify(bundle: Bundle, key: PublicKey | None) -> SignedFiles:
    """1. A key's bundle names this key, if it names one. 2. The signature holds over the payload's bytes. 3. They are
    a statement of OMS. Not shown: that any file lies there as signed, nor whose a certificate is.

    key: whom to believe; None: of a certificate, the one that the bundle brings.

    Raises:
        BadOms: any of these fails, or there is nothing to check a key's bundle with.
    """
    if bundle.method == "key":
        if key is None:
            raise BadOms("signed by a key that the bundle does not hold; give its public key")
        if bundle.hint is not None and bundle.hint != key.hint:
            raise BadOms(f"signed by the key {bundle.hint}; expected {key.hint}")
    elif key is None and bundle.certificate is not None:
        key = key_of_certificate(bundle.certificate)
    if key is None or not key.has_signed(signed_bytes(bundle.payload), bundle.signature):
        raise BadOms("the signature does not belong to this statement and this key")
    return read_statement(bundle.payload)


def _envelope(envelope: object) -> tuple[bytes, bytes]:
    if not isinstance(envelope, dict):
        raise BadOms("the bundle has no dsseEnvelope, so nothing is signed")
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        raise BadOms(
            f"payloadType is {str(envelope.get('payloadType'))!r:.100}; expected {PAYLOAD_TYPE!r}"
        )
    signatures = envelope.get("signatures")
    if (
        not isinstance(signatures, list)
        or len(signatures) != 1
        or not isinstance(signatures[0], dict)
    ):
        raise BadOms("the envelope has not exactly one signature")
    if not isinstance(signatures[0].get("keyid", ""), str | None):
        raise BadOms("keyid is neither text nor nothing")
    payload = _decoded(envelope.get("payload"), MAX_STATEMENT_BYTES, "payload")
    return payload, _decoded(signatures[0].get("sig"), MAX_SIGNATURE_BYTES, "signature")


def _material(material: object) -> tuple[Method, str | None, bytes | None]:
    if not isinstance(material, dict):
        raise BadOms("the bundle has no verificationMaterial, so nobody can tell who signed it")
    if not isinstance(material.get("tlogEntries"), list):
        raise BadOms("verificationMaterial has no tlogEntries; expected a list, empty if offline")
    given = [
        each
        for each in ("publicKey", "x509CertificateChain", "certificate")
        if material.get(each) is not None
    ]
    if len(given) != 1:
        raise BadOms("expected one of publicKey, x509CertificateChain and certificate")
    if given == ["publicKey"]:
        return "key", _hint(material["publicKey"]), None
    if given == ["certificate"]:
        if not material["tlogEntries"]:
            raise BadOms("a certificate of Sigstore without an entry of its log proves nothing")
        return "sigstore", None, _certificate(material["certificate"])
    chain = material["x509CertificateChain"]
    certificates = chain.get("certificates") if isinstance(chain, dict) else None
    if not isinstance(certificates, list) or not 0 < len(certificates) <= MAX_CERTIFICATES:
        raise BadOms(f"a chain has 1 to {MAX_CERTIFICATES} certificates")
    return "certificate", None, _certificate(certificates[0])


def _hint(key: object) -> str | None:
    if not isinstance(key, dict):
        raise BadOms("publicKey is no object; expected hint")
    hint = key.get("hint")
    if hint is None and "rawBytes" in key:
        return None
    if not isinstance(hint, str) or not _HINT.fullmatch(hint):
        raise BadOms("publicKey has no hint of 64 hexadecimal digits")
    return hint


def _certificate(certificate: Any) -> bytes:
    raw = certificate.get("rawBytes") if isinstance(certificate, dict) else None
    return _decoded(raw, MAX_CERTIFICATE_BYTES, "certificate")


def _decoded(text: object, most: int, what: str) -> bytes:
    """Base64. Raises BadOms."""
    if not isinstance(text, str) or not 0 < len(text) <= most * 4 // 3 + 4:
        raise BadOms(f"the {what} is no base64 of 1 to {most} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadOms(f"the {what} is no base64: {error}") from None
