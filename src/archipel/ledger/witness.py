"""A witness: signs a log's checkpoint if it goes on from the last one that it signed, and never two histories.

One text per log in a folder of its own: the newest checkpoint that was signed. Laws: it is on the disk before a
signature leaves; requests about one log take turns; what is asked is bounded and changes nothing unless it is proven.
Source: c2sp.org/tlog-witness, whose statuses these are.
"""

import base64
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from archipel.identity import Identity
from archipel.ledger.cosignature import cosigned, witness_key
from archipel.ledger.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    MAX_PROOF_HASHES,
    BadProof,
    verify_consistency,
)
from archipel.ledger.signed_note import MAX_NOTE_BYTES, NoteKey, open_note
from archipel.ledger.storage import LedgerCorrupt, LedgerInUse, LedgerUnavailable
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head

MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 64 * (MAX_PROOF_HASHES + 2)
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
OK, MALFORMED, FORBIDDEN, UNKNOWN, CONFLICT, UNPROVEN = 200, 400, 403, 404, 409, 422


@dataclass(frozen=True)
class Reply:
    """An answer to a request."""

    status: int
    body: str
    media_type: str = TEXT_TYPE


@dataclass(frozen=True)
class Submission:
    """A request to sign a checkpoint."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes


class BadSubmission(ValueError):
    """Bytes that are no request."""


def submission(old_size: int, proof: tuple[bytes, ...], note: bytes) -> bytes:
    """The body of a request."""
    lines = [f"old {old_size}", *(base64.b64encode(each).decode() for each in proof)]
    return "\n".join(lines).encode() + b"\n\n" + note


def read_submission(body: bytes) -> Submission:
    """A request's body.

    Raises:
        BadSubmission: it is none.
    """
    head, blank, note = body.partition(b"\n\n")
    if len(body) > MAX_REQUEST_BYTES or not blank:
        raise BadSubmission(
            "expected a line with the old size, a proof, an empty line and a checkpoint"
        )
    try:
        first, *hashes = head.decode("ascii").split("\n")
        proof = tuple(base64.b64decode(each, validate=True) for each in hashes)
    except ValueError:
        raise BadSubmission("the proof is not in lines of base64") from None
    old = _OLD.fullmatch(first)
    if old is None:
        raise BadSubmission(f"it begins {first!r:.60}; expected `old` and a size")
    if len(proof) > MAX_PROOF_HASHES or any(len(each) != HASH_BYTES for each in proof):
        raise BadSubmission(f"expected at most {MAX_PROOF_HASHES} hashes of {HASH_BYTES} bytes")
    return Submission(int(old[1]), proof, note)


class Witness:
    """One witness and what it signed. Safe to use from several threads; one process at a time."""

    def __init__(
        self,
        folder: Path,
        name: str,
        identity: Identity,
        logs: Mapping[str, NoteKey],
        now_s: Callable[[], int],
    ) -> None:
        """logs: origin -> key, of the logs that it speaks about. now_s: Unix time.

        Raises:
            LedgerInUse: another process is this witness. LedgerUnavailable: the folder cannot be written.
            BadNote: a name that no key may have.
        """
        self.key = witness_key(name, identity.public_key)
        self._folder, self._identity, self._now_s = folder, identity, now_s
        self._logs = dict(logs)
        self._lock = threading.Lock()
        self._held = _hold(folder)

    def close(self) -> None:
        """Let another process be this witness."""
        os.close(self._held)

    def add(self, body: bytes) -> Reply:
        """Answer a request to sign.

        1. It is well formed. 2. The log is one of ours, and signed the checkpoint. 3. The old size is the one that
        was signed last, and not beyond the new one. 4. The new tree is proven to extend the old one. 5. The
        checkpoint is on the disk. Only then there is a signature.

        Raises:
            LedgerCorrupt, LedgerUnavailable: the disk; nothing was signed.
        """
        try:
            asked = read_submission(body)
            origin = asked.note.partition(b"\n")[0].decode()
        except (BadSubmission, UnicodeDecodeError) as error:
            return Reply(MALFORMED, f"{error}\n")
        key = self._logs.get(origin)
        if key is None:
            return Reply(UNKNOWN, "this witness does not speak about that log\n")
        try:
            head = verify_tree_head(asked.note, key)
        except BadTreeHead as error:
            return Reply(FORBIDDEN, f"{error}\n")
        with self._lock:
            return self._signed(asked, head, key)

    def _signed(self, asked: Submission, head: TreeHead, key: NoteKey) -> Reply:
        last = self._last(key)
        size, root = (0, EMPTY_ROOT) if last is None else (last.size, last.root)
        if asked.old_size > head.size:
            return Reply(
                MALFORMED, f"old size {asked.old_size} is beyond the new one, {head.size}\n"
            )
        if asked.old_size != size or (head.size == size and head.root != root):
            return Reply(CONFLICT, f"{size}\n", SIZE_TYPE)
        try:
            verify_consistency(size, head.size, root, head.root, asked.proof)
        except BadProof as error:
            return Reply(UNPROVEN, f"{error}\n")
        self._keep(key, head)
        return Reply(
            OK, cosigned(open_note(head.note, key), self.key.name, self._identity, self._now_s())
        )

    def _last(self, key: NoteKey) -> TreeHead | None:
        path = self._path(key)
        try:
            note = path.read_bytes() if path.stat().st_size <= MAX_NOTE_BYTES else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerUnavailable(f"cannot read {path}: {error.strerror}") from None
        try:
            return verify_tree_head(note, key)
        except BadTreeHead as error:
            raise LedgerCorrupt(
                f"{path} is damaged ({error}); this witness signs nothing more of that log until it is restored"
            ) from None

    def _keep(self, key: NoteKey, head: TreeHead) -> None:
        path = self._path(key)
        aside = path.with_name(f".{path.name}.partial")
        try:
            with aside.open("wb") as file:
                file.write(head.note)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise LedgerUnavailable(
                f"cannot write {path}: {error.strerror}; nothing was signed"
            ) from None

    def _path(self, key: NoteKey) -> Path:
        """By a hash of the origin: a stranger's text is no path."""
        return self._folder / f"{hashlib.sha256(key.name.encode()).hexdigest()[:32]}.note"


def _hold(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerUnavailable(f"cannot write {folder}: {error.strerror}") from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise LedgerInUse(f"another process is the witness of {folder}; stop it first") from None
    return held
