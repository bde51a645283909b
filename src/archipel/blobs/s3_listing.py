"""What a store says of its objects, read within bounds: pages of a listing, uploads in parts, refusals.

Law: pure. A store is somebody's server: what it says has a known form, or is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree as Xml

MAX_PAGE_BYTES = 4 * 2**20
"""A page has at most 1000 entries."""
MAX_ENTRIES = 1000
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")


class BadListing(ValueError):
    """Not what such a store says; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, or an upload in parts that has not ended."""

    key: str
    size: int
    modified_s: float
    """Unix time when it came, or began."""
    upload: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a listing."""

    entries: tuple[Listed, ...]
    following: str
    """Where the next page begins; empty: this was the last."""


def read_page(data: bytes) -> Page:
    """Of `ListObjectsV2`.

    Raises:
        BadListing: another form.
    """
    root = _root(data, "ListBucketResult")
    entries = tuple(
        Listed(_text(each, "Key"), _size(each), _moment(each, "LastModified"))
        for each in _each(root, "Contents")
    )
    is_cut = _text(root, "IsTruncated", "false") == "true"
    return Page(entries, _text(root, "NextContinuationToken") if is_cut else "")


def read_uploads(data: bytes) -> tuple[Listed, ...]:
    """Of `ListMultipartUploads`, its first page.

    Raises:
        BadListing: another form.
    """
    return tuple(
        Listed(_text(each, "Key"), 0, _moment(each, "Initiated"), _text(each, "UploadId"))
        for each in _each(_root(data, "ListMultipartUploadsResult"), "Upload")
    )


def read_upload_id(data: bytes) -> str:
    """Of `CreateMultipartUpload`.

    Raises:
        BadListing: another form.
    """
    return _text(_root(data, "InitiateMultipartUploadResult"), "UploadId")


def read_copied(data: bytes) -> str:
    """Of `UploadPartCopy`: what the store calls the part.

    Raises:
        BadListing: another form.
    """
    return _text(_root(data, "CopyPartResult"), "ETag")


def code_of(data: bytes) -> str:
    """What a refusal calls itself; empty: it does not say."""
    found = _CODE.search(data[:4096])
    return "" if found is None else found[1].decode("ascii")


def _root(data: bytes, tag: str) -> Xml.Element:
    if len(data) > MAX_PAGE_BYTES:
        raise BadListing(f"{len(data)} bytes came; an answer has at most {MAX_PAGE_BYTES}")
    if b"<!" in data:  # entities that swell, and files that they name
        raise BadListing("the answer declares something; a store only lists")
    try:
        root = Xml.fromstring(data)  # noqa: S314 - without declarations, nothing swells
    except (Xml.ParseError, ValueError) as error:
        raise BadListing(f"what answers is no S3 store: {error}") from None
    if _name(root) != tag:
        raise BadListing(f"got a {_name(root)!a:.80}; expected a {tag}")
    return root


def _each(root: Xml.Element, name: str) -> Iterator[Xml.Element]:
    found = [each for each in root if _name(each) == name]
    if len(found) > MAX_ENTRIES:
        raise BadListing(f"{len(found)} entries on a page of at most {MAX_ENTRIES}")
    return iter(found)


def _text(parent: Xml.Element, name: str, otherwise: str | None = None) -> str:
    for each in parent:
        if _name(each) == name and each.text:
            return each.text
    if otherwise is None:
        raise BadListing(f"a {_name(parent)!a:.80} without its {name}")
    return otherwise


def _size(each: Xml.Element) -> int:
    text = _text(each, "Size")
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise BadListing(f"a size of {text!a:.40}; expected bytes")
    return int(text)


def _moment(each: Xml.Element, name: str) -> float:
    text = _text(each, name)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise BadListing(f"{name} {text!a:.40}; expected a time as 2026-01-31T12:00:00Z") from None


def _name(element: Xml.Element) -> str:
    """Without its name space."""
    return str(element.tag).rpartition("}")[2]
