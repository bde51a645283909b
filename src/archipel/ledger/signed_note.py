"""C2SP signed notes with Ed25519: a text, a blank line, one signature line per key.

Parts: `NoteKey` (a verifier key), `sign_note`, `open_note`.

Law: only a text whose signature by the expected key holds is ever returned.
Source: c2sp.org/signed-note.
"""

import base64
import hashlib
from dataclasses import dataclass

from archipel.identity import BadSignature, Identity, verify_bytes

MAX_NOTE_BYTES = 65_536
MAX_NOTE_SIGNATURES = 64
MAX_KEY_NAME_CHARS = 256
MAX_KEY_TEXT_CHARS = 512

ED25519, COSIGNATURE = b"\x01", b"\x04"
"""Kinds of key: of a log, and of a witness, whose signatures carry a time (c2sp.org/tlog-cosignature)."""
_KEY_ID_BYTES = 4
_SIGNATURE_LINE_START = "— "


class BadNote(ValueError):
    """Bytes that are no signed note, or whose signature by the expected key does not hold."""


@dataclass(frozen=True)
class NoteKey:
    """Who may sign a note: a key name and an Ed25519 public key."""

    name: str
    public_key: bytes
    kind: bytes = ED25519

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise BadNote(
                f"key name {self.name!r:.80} must have 1 to {MAX_KEY_NAME_CHARS} characters "
                "without spaces, plus signs or control characters"
            )
        if len(self.public_key) != 32:
            raise BadNote(f"an Ed25519 key has 32 bytes; got {len(self.public_key)}")

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name, newline, type, public key)."""
        encoded = self.name.encode() + b"\n" + self.kind + self.public_key
        return hashlib.sha256(encoded).digest()[:_KEY_ID_BYTES]

    def to_text(self) -> str:
        """The verifier key line: name, hexadecimal key id and base64 key, joined by `+`."""
        encoded = base64.b64encode(self.kind + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def from_text(cls, text: str) -> "NoteKey":
        """Parse a verifier key line.

        Raises:
            BadNote: anything but what `to_text` writes.
        """
        parts = text.split("+", 2)  # base64 may contain further plus signs
        if len(text) > MAX_KEY_TEXT_CHARS or len(parts) != 3:
            raise BadNote("a verifier key reads name+keyid+base64")
        name, _key_id, encoded = parts
        data = _decode(encoded)
        if data[:1] not in (ED25519, COSIGNATURE):
            raise BadNote("not an Ed25519 verifier key (type 0x01, or 0x04 of a witness)")
        key = cls(name, data[1:], data[:1])
        if key.to_text() != text:
            raise BadNote(f"the key id in {text!r:.120} does not belong to this name and key")
        return key


def sign_note(text: str, name: str, identity: Identity) -> bytes:
    """`text` (ending in a newline) with one signature by `identity` under `name`.

    Raises:
        BadNote: a text or name that no note may have.
    """
    key = NoteKey(name, identity.public_key)
    _check_characters(text)
    if not text.endswith("\n"):
        raise BadNote("a note's text ends in a newline")
    return f"{text}\n{signature_line(key, identity.sign_bytes(text.encode()))}".encode()


def signature_line(key: NoteKey, signature: bytes) -> str:
    """What a note ends with for each of its signers."""
    encoded = base64.b64encode(key.key_id + signature).decode()
    return f"{_SIGNATURE_LINE_START}{key.name} {encoded}\n"


def open_note(note: bytes, key: NoteKey) -> str:
    """The text of `note`, if `key` signed it; lines by unknown keys are ignored.

    1. Bounded UTF-8 without control characters. 2. Text and signatures part at the last blank
    line. 3. Every signature line is well formed. 4. At least one is by `key`, and all by it hold.

    Raises:
        BadNote: any of these fails.
    """
    text, signatures = signatures_by(note, key)
    for signature in signatures:
        try:
            verify_bytes(key.public_key, text.encode(), signature)
        except BadSignature as error:
            raise BadNote(f"the signature by {key.name} does not hold: {error}") from None
    return text


def signatures_by(note: bytes, key: NoteKey) -> tuple[str, list[bytes]]:
    """(text, what stands in the lines of `key`, unchecked), of a note that is well formed.

    Raises:
        BadNote: it is not, or there is no line of `key`.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise BadNote(f"{len(note)} bytes; the limit is {MAX_NOTE_BYTES}")
    try:
        decoded = note.decode()
    except UnicodeDecodeError as error:
        raise BadNote(f"not UTF-8: {error}") from None
    _check_characters(decoded)
    head, blank, tail = decoded.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise BadNote("a note is a text, a blank line and lines of signatures, each ended")
    text = head + "\n"
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_NOTE_SIGNATURES:
        raise BadNote(f"{len(lines)} signatures; the limit is {MAX_NOTE_SIGNATURES}")
    signatures = [
        data[_KEY_ID_BYTES:]
        for name, data in map(_parse_signature_line, lines)
        if name == key.name and data[:_KEY_ID_BYTES] == key.key_id
    ]
    if not signatures:
        raise BadNote(f"no signature by {key.to_text()}")
    return text, signatures


def is_key_name(name: str) -> bool:
    """Whether a signature line can carry this name."""
    return (
        0 < len(name) <= MAX_KEY_NAME_CHARS
        and "+" not in name
        and not any(c.isspace() or c < " " for c in name)
    )


def _parse_signature_line(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_SIGNATURE_LINE_START).partition(" ")
    if not line.startswith(_SIGNATURE_LINE_START) or not space or not is_key_name(name):
        raise BadNote(f"a signature line reads `— name base64`; got {line!r:.120}")
    data = _decode(encoded)
    if len(data) <= _KEY_ID_BYTES:
        raise BadNote(f"the signature by {name} is empty")
    return name, data


def _decode(encoded: str) -> bytes:
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise BadNote(f"not base64: {error}") from None
    if base64.b64encode(data).decode() != encoded:
        raise BadNote("base64 is not in its one canonical spelling")
    return data


def _check_characters(text: str) -> None:
    if any(character < " " and character != "\n" for character in text):
        raise BadNote("a note has no control characters but newline")
