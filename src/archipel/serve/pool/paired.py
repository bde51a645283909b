"""Which devices this one is paired with: a list in a file of its owner alone, read anew whenever it matters.

Law: a pairing holds until it is revoked here; what is revoked gets no link from the next call on, whichever process
revoked it.
"""

import base64
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from archipel.key_file import write_private
from archipel.records.fields import Closed
from archipel.records.kept import Damaged, kept, read_kept
from archipel.serve.pool.credentials import MAX_CERTIFICATE_BYTES, NotOurs, name_of, public_key_of

PAIRED, STATUS = "paired.json", "status.json"
"""In a gateway's folder: these devices, and how it stands; named here, where nothing heavy is imported."""
MAX_PAIRED = 256
_MAX_FILE_BYTES = 2 * 1024 * 1024
_LOCK_S = 5.0

LABEL = r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,62}$"
Label = Annotated[str, Field(pattern=LABEL)]
"""What a person calls a device."""
Encoded = Annotated[str, Field(min_length=4, max_length=MAX_CERTIFICATE_BYTES * 2)]
"""Base64."""


class BadPairing(ValueError):
    """The list of paired devices, or a wish about it, is not as it must be; the message is a sentence."""


@dataclass(frozen=True)
class PairedDevice:
    """One that this device gives links to."""

    name: str
    """Digest of its certificate."""
    label: str
    certificate: bytes
    """DER."""
    paired_at_s: int
    """Unix time."""


class _Entry(Closed):
    label: Label
    certificate: Encoded
    paired_at_s: Annotated[int, Field(ge=0, le=2**53 - 1)]


class _File(Closed):
    form: Literal["paired-1"] = "paired-1"
    devices: Annotated[tuple[_Entry, ...], Field(max_length=MAX_PAIRED)] = ()


class PairedDevices:
    """The list in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> tuple[PairedDevice, ...]:
        """All of them, in the order of their pairing.

        Raises:
            BadPairing: the file is damaged. OSError: it cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES)
        except FileNotFoundError:
            return ()
        try:
            return read_paired(data)
        except BadPairing as error:
            raise BadPairing(f"{self._path}: {error}; pair the devices again without it") from None

    def certificates(self) -> tuple[bytes, ...]:
        """DER of each. Raises as `all`."""
        return tuple(each.certificate for each in self.all())

    def add(self, certificate: bytes, label: str, now_s: int) -> PairedDevice:
        """Pair with the device of this certificate (DER), instead of one of the same label.

        Raises:
            BadPairing: no such certificate or label, or too many devices. OSError: it cannot be written.
        """
        try:
            public_key_of(certificate)
        except NotOurs as error:
            raise BadPairing(str(error)) from None
        new = PairedDevice(name_of(certificate), label, certificate, now_s)
        with self._changing():
            rest = [e for e in self.all() if e.label != label and e.name != new.name]
            if len(rest) >= MAX_PAIRED:
                raise BadPairing(f"{MAX_PAIRED} devices are paired already; revoke one first")
            self._write((*rest, new))
        return new

    def revoke(self, which: str) -> PairedDevice:
        """Pair no more with the device of this label, or whose name begins so (8 characters or more).

        Raises:
            BadPairing: it names none, or several. OSError: it cannot be written.
        """
        with self._changing():
            known = self.all()
            found = [e for e in known if which == e.label] or [
                e
                for e in known
                if len(which) >= 8 and e.name.removeprefix("sha256:").startswith(which)
            ]
            if len(found) != 1:
                labels = ", ".join(each.label for each in known) or "none"
                raise BadPairing(f"{which!r:.80} names {len(found)} devices; paired are: {labels}")
            self._write([each for each in known if each is not found[0]])
        return found[0]

    def _write(self, devices: Sequence[PairedDevice]) -> None:
        try:
            file = _File(
                devices=tuple(
                    _Entry(
                        label=each.label,
                        certificate=base64.b64encode(each.certificate).decode(),
                        paired_at_s=each.paired_at_s,
                    )
                    for each in devices
                )
            )
        except ValidationError:
            raise BadPairing(
                "a label has 1 to 63 letters, digits, spaces, dots, dashes or underscores, "
                f"and begins with a letter or digit; got {[each.label for each in devices][-1]!r:.80}"
            ) from None
        write_private(self._path, kept(file.model_dump()), anew=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone among all processes of this machine."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self._path.with_name(f"{self._path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + _LOCK_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise BadPairing(f"another process holds {lock}; try again") from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)


def read_paired(data: bytes) -> tuple[PairedDevice, ...]:
    """What a list's file says.

    Raises:
        BadPairing: it is none, or was altered.
    """
    try:
        file = _File.model_validate(read_kept(data, strict=True), strict=False)
        return tuple(
            PairedDevice(name_of(der), each.label, der, each.paired_at_s)
            for each in file.devices
            for der in [base64.b64decode(each.certificate, validate=True)]
        )
    except (Damaged, ValueError) as error:
        raise BadPairing(f"damaged ({str(error)[:120]})") from None
