"""Readers of what a store of blobs says, of the address that names one, and of those that a lab sends us to."""

from archipel.blobs.s3_direct import sha256_told
from archipel.blobs.s3_listing import (
    BadListing,
    code_of,
    read_copied,
    read_page,
    read_upload_id,
    read_uploads,
)
from archipel.blobs.s3_place import BadPlace, place_of
from archipel.node.direct import NotFollowed, target_of
from archipel.records.document import BadDocument, read_document
from archipel.records.landing import Landed, Landing
from fuzz.reading import Reader

PAGE = b"""<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<IsTruncated>true</IsTruncated><Contents><Key>lab/ab/cd</Key><LastModified>2026-01-31T12:00:00.000Z</LastModified>
<Size>7</Size></Contents><NextContinuationToken>on</NextContinuationToken></ListBucketResult>"""
UPLOADS = b"""<ListMultipartUploadsResult><Upload><Key>lab/ab/cd</Key><UploadId>one</UploadId>
<Initiated>2026-01-31T12:00:00Z</Initiated></Upload></ListMultipartUploadsResult>"""
BEGUN = b"<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>"
COPIED = b'<CopyPartResult><ETag>"0a"</ETag></CopyPartResult>'
LANDING = (
    b'{"name":"0123456789abcdef0123456789abcdef","parts":[{"url":"https://h/b","start":0,"stop":9}],'
    b'"is_hashed":true,"left_ms":9}'
)
TARGET = b"https://bucket.example.org/lab/ab/cd?X-Amz-Signature=1"
URL = b"s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1&public=https://h"


def readers() -> dict[str, Reader]:
    """Of this part."""
    return {
        "a bucket's page": Reader(read_page, (PAGE,), (BadListing,)),
        "a bucket's uploads": Reader(read_uploads, (UPLOADS,), (BadListing,)),
        "a bucket's upload": Reader(read_upload_id, (BEGUN,), (BadListing,)),
        "a bucket's copied part": Reader(read_copied, (COPIED,), (BadListing,)),
        "a bucket's checksum": Reader(
            lambda data: sha256_told(data.decode("latin-1")), (b"A" * 43 + b"=",), ()
        ),
        "a landing": Reader(lambda data: read_document(Landing, data), (LANDING,), (BadDocument,)),
        "what landed": Reader(
            lambda data: read_document(Landed, data), (b'{"tags":["0a"]}',), (BadDocument,)
        ),
        "where a lab sends us": Reader(
            lambda data: target_of(data.decode("latin-1"), "http://127.0.0.1:8440"),
            (TARGET,),
            (NotFollowed,),
        ),
        "a bucket's refusal": Reader(code_of, (b"<Error><Code>NoSuchKey</Code></Error>",), ()),
        "a bucket's address": Reader(
            lambda data: place_of(data.decode("latin-1")), (URL,), (BadPlace,)
        ),
    }
