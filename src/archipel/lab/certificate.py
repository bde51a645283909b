"""The certificate that a lab shows to whoever connects, read from two files, and again when they change.

Law: the key is its owner's alone; a pair that does not hold is refused with a sentence at the start, and later leaves
the one that is shown as it is.
"""

import logging
import ssl
from pathlib import Path

from cryptography import x509

logger = logging.getLogger("archipel.lab")

LOOKS = 100
"""Ticks of a server between two looks at the files, which somebody renews: ten seconds."""
MAX_FILE_BYTES = 1024 * 1024
"""Of a chain of certificates, or a key: some kilobytes are usual."""


class BadCertificate(ValueError):
    """These two files are no certificate and its key; the message says what to do."""


class Certificate:
    """A chain and its key, as PEM files."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Read.

        Raises:
            BadCertificate: others may read the key; one is no PEM; they do not belong together. OSError: the disk.
        """
        self._chain, self._key = chain, key
        self._seen = self._stamp()
        _pair(chain, key)  # aside: what a context once took, it keeps
        self.context = _pair(chain, key)
        """For a server; whoever connects later gets what `renew` took."""
        self.name = _first_name(chain)
        """The first host that the certificate is for, no wildcard; None: it names none."""

    def renew(self) -> bool:
        """Whether the files changed; new connections then get what they hold now.

        Raises:
            BadCertificate, OSError: they do not hold; what was shown so far stays.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        _pair(self._chain, self._key)
        _take(self.context, self._chain, self._key)
        return True

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        found = (path.stat() for path in (self._chain, self._key))
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


def keep_up(certificate: Certificate | None, tick: int) -> None:
    """At a server's tick: show what the files hold now; while they hold no pair, what they held before."""
    if certificate is None or tick % LOOKS:
        return
    try:
        if certificate.renew():
            logger.info("a new certificate is shown from here on")
    except (BadCertificate, OSError) as error:
        logger.warning("the certificate stays as it was: %s", error)


def _pair(chain: Path, key: Path) -> ssl.SSLContext:
    for path in (chain, key):
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise BadCertificate(
                f"{path} has {size} bytes, expected {MAX_FILE_BYTES} at most: a certificate or key in PEM"
            )
    if key.stat().st_mode & 0o077:
        raise BadCertificate(f"others may read {key}; run: chmod 600 {key}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _take(context, chain, key)
    return context


def _take(context: ssl.SSLContext, chain: Path, key: Path) -> None:
    def sealed() -> str:
        raise BadCertificate(
            f"{key} is sealed by a passphrase, and a server starts without being asked; give it unsealed, mode 0600"
        )

    try:
        context.load_cert_chain(chain, key, password=sealed)
    except ssl.SSLError as error:
        why = error.reason or "no PEM"
        raise BadCertificate(
            f"{chain} and {key} are no certificate and its key ({why.lower().replace('_', ' ')}); expected "
            "PEM, the server's own certificate first, then those between it and its authority"
        ) from None


def _first_name(chain: Path) -> str | None:
    try:
        first = x509.load_pem_x509_certificates(chain.read_bytes())[0]
        names = first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    hosts = names.get_values_for_type(x509.DNSName)
    hosts += [str(each) for each in names.get_values_for_type(x509.IPAddress)]
    return next((each for each in hosts if not each.startswith("*")), None)
