"""What is signed: an in-toto statement that names every file of a model with its SHA-256.

Laws: the subject's digest is SHA-256 over the digests of the resources in the order in which they stand, so that it
names the whole; ours stand by their names' code points, as OMS asks, and those of others as they came (OpenSSF's own
tool sorts by the parts of paths, so that `a/b` comes before `a-d`); what a stranger wrote is bounded and refused with
a sentence.
Source: OMS 1.0, statement and predicate; in-toto Statement v1.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_STATEMENT_BYTES = 192 * 1024 * 1024
"""A million files with names of 60 characters."""
MAX_RESOURCES = 1_100_000
MAX_NAME_CHARACTERS = 1024
MAX_IGNORED = 1000

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = ("_type", "subject", "predicateType", "predicate")


class BadOms(ValueError):
    """Bytes that are no OMS signature that this reader takes; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class SignedFiles:
    """What a statement says."""

    name: str
    """Of the model, for people."""
    digests: Mapping[str, str]
    """Path relative to the folder -> 64 hexadecimal digits, in the order of the statement."""
    ignored: tuple[str, ...]
    """Paths that the signature leaves out, in the order of paths."""

    @property
    def whole(self) -> str:
        """The subject's digest: SHA-256 over all digests, 64 hexadecimal digits."""
        return hashlib.sha256(bytes.fromhex("".join(self.digests.values()))).hexdigest()

    def to_bytes(self) -> bytes:
        """The statement, in the one spelling that this writer has."""
        resources = [
            {"algorithm": "sha256", "digest": digest, "name": name}
            for name, digest in self.digests.items()
        ]
        serialization = {
            "allow_symlinks": False,
            "hash_type": "sha256",
            "ignore_paths": list(self.ignored),
            "method": "files",
        }
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": [{"digest": {"sha256": self.whole}, "name": self.name}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {"resources": resources, "serialization": serialization},
        }
        return json.dumps(statement, ensure_ascii=False, sort_keys=True).encode()


def signed_files(name: str, digests: Mapping[str, str], ignored: Iterable[str]) -> SignedFiles:
    """A statement of these files, whatever their order."""
    return SignedFiles(name, dict(sorted(digests.items())), tuple(sorted(ignored)))


def read_statement(data: bytes) -> SignedFiles:
    """1. One subject, the types of OMS 1.0. 2. Whole files, no symbolic links, SHA-256. 3. Names that stay inside,
    each once. 4. The subject's digest is that of the resources.

    Raises:
        BadOms: any of these fails, or it is beyond its bounds.
    """
    said = read_json(data, MAX_STATEMENT_BYTES, "statement")
    for key in _KEYS:
        if key not in said:
            raise BadOms(f"a statement without {key!r}; expected {', '.join(_KEYS)}")
    _expect(said["_type"], STATEMENT_TYPE, "_type")
    _expect(said["predicateType"], PREDICATE_TYPE, "predicateType")
    subject, predicate = said["subject"], said["predicate"]
    if not isinstance(subject, list) or len(subject) != 1 or not isinstance(predicate, dict):
        raise BadOms("a statement of OMS has one subject, the model, and a predicate")
    name, whole = _subject(subject[0])
    files = SignedFiles(
        name, _resources(predicate.get("resources")), _ignored(predicate.get("serialization"))
    )
    if files.whole != whole:
        raise BadOms(
            f"the subject's digest is {whole:.64} and its files' digests give {files.whole}; it was put together badly"
        )
    return files


def read_json(data: bytes, most: int, what: str) -> dict[str, Any]:
    """A JSON object of at most so many bytes, no key twice.

    Raises:
        BadOms: it is none.
    """
    if len(data) > most:
        raise BadOms(f"a {what} of {len(data)} bytes; at most {most}")
    try:
        said = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadOms(f"a {what} that is no JSON: {error!s:.120}") from None
    if not isinstance(said, dict):
        raise BadOms(f"a {what} is a JSON object; got {type(said).__name__}")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _expect(got: object, expected: str, key: str) -> None:
    if got != expected:
        raise BadOms(f"{key} is {str(got)!r:.140}; expected {expected!r}")


def _subject(subject: object) -> tuple[str, str]:
    if not isinstance(subject, dict) or not isinstance(subject.get("digest"), dict):
        raise BadOms("the subject has no digest; expected name and digest.sha256")
    name, digest = subject.get("name"), subject["digest"].get("sha256")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise BadOms(f"the subject has no name of 1 to {MAX_NAME_CHARACTERS} characters")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise BadOms("the subject has no digest.sha256 of 64 hexadecimal digits")
    return name, digest


def _resources(resources: object) -> dict[str, str]:
    if not isinstance(resources, list) or not 0 < len(resources) <= MAX_RESOURCES:
        raise BadOms(f"a predicate names 1 to {MAX_RESOURCES} resources")
    digests = dict(map(_resource, resources))
    if len(digests) != len(resources):
        raise BadOms("a resource stands twice; expected each name once")
    return digests


def _resource(each: object) -> tuple[str, str]:
    if not isinstance(each, dict):
        raise BadOms("a resource is no object; expected name, digest and algorithm")
    name, digest = each.get("name"), each.get("digest")
    if each.get("algorithm") != "sha256":
        raise BadOms(
            f"a resource by {str(each.get('algorithm'))!r:.40}; this reader takes sha256 alone"
        )
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise BadOms(f"{str(name)!r:.120} has no digest of 64 hexadecimal digits")
    return inner_path(name), digest


def inner_path(name: object) -> str:
    """A path with / between its parts that stays in the folder that it is read from.

    Raises:
        BadOms: it is none.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise BadOms(f"a file's name has 1 to {MAX_NAME_CHARACTERS} characters")
    if {"", ".", ".."} & set(name.split("/")) or "\\" in name or not name.isprintable():
        raise BadOms(f"{name!r:.120} leads out of the folder, or is no plain relative path")
    return name


def _ignored(serialization: object) -> tuple[str, ...]:
    if not isinstance(serialization, dict):
        raise BadOms("the predicate has no serialization; expected method, hash_type ...")
    method, kind = serialization.get("method"), serialization.get("hash_type")
    if (method, kind) != ("files", "sha256"):
        raise BadOms(
            f"files were hashed by {str(method)!r:.40} and {str(kind)!r:.40}; this reader takes whole files by sha256"
        )
    if serialization.get("allow_symlinks") is not False:
        raise BadOms("symbolic links were allowed; this reader follows none")
    ignored = serialization.get("ignore_paths", [])
    if not isinstance(ignored, list) or len(ignored) > MAX_IGNORED:
        raise BadOms(f"ignore_paths is no list of at most {MAX_IGNORED} paths")
    return tuple(sorted(inner_path(each) for each in ignored))
