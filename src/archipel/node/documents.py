"""What a lab shows of a run, as a node reads it: checked like any stranger's words.

The documents may grow fields that this version does not know; what it knows has to fit.
"""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from archipel.identity import IdentityError, did_to_public_key
from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.fields import BlobRef, Count, Digest, VersionNumber
from archipel.records.statements import ModelFile, Pace

FOLDER_DIGITS = 12
"""Hexadecimal digits of an opening's digest in the name of a run's folder."""


class BadDocument(ValueError):
    """An answer that is not what this path of a lab answers."""


class Document(BaseModel):
    """Frozen; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class LabFacts(Document):
    """`/lab`."""

    lab: str


class KeyFacts(Document):
    """`/keys/<did>`."""

    last_seq: Count


class Opening(Document):
    """`/runs/<run>/opening`: what a worker needs to know of a run."""

    run: str
    recipe: BlobRef
    pace: Pace
    model: tuple[ModelFile, ...]
    opened_at_ms: Count

    def folder(self, lab: str) -> str:
        """A folder name that no other run of this name, here or at another lab, ever has."""
        digest = sha256_digest(canonical_json([lab, self.model_dump(mode="json")]))
        return f"{self.run}-{digest.removeprefix('sha256:')[:FOLDER_DIGITS]}"


class VersionEntry(Document):
    """One of `/runs/<run>/versions`."""

    version: VersionNumber
    policy: Digest
    manifest: BlobRef
    anchor: BlobRef | None
    delta: BlobRef | None


class UploadState(Document):
    """`/blobs/<digest>/state`."""

    complete: bool
    offset: Count


D = TypeVar("D", bound=BaseModel)


def read(kind: type[D], data: bytes) -> D:
    """One document.

    Raises:
        BadDocument: it is not one.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise BadDocument(_first_fault(error)) from None


def lab_did(facts: LabFacts) -> str:
    """The lab's key, if it is one.

    Raises:
        BadDocument: it is not.
    """
    try:
        did_to_public_key(facts.lab)
    except IdentityError as error:
        raise BadDocument(str(error)) from None
    return facts.lab


def _first_fault(error: ValidationError) -> str:
    fault: Any = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
