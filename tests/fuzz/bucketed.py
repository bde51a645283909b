"""Readers of what a store of blobs says, and of the address that names one."""

from archipel.blobs.s3_listing import (
    BadListing,
    code_of,
    read_page,
    read_upload_id,
    read_uploads,
)
from archipel.blobs.s3_place import BadPlace, place_of
from fuzz.reading import Reader

PAGE = b"""<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<IsTruncated>true</IsTruncated><Contents><Key>lab/ab/cd</Key><LastModified>2026-01-31T12:00:00.000Z</LastModified>
<Size>7</Size></Contents><NextContinuationToken>on</NextContinuationToken></ListBucketResult>"""
UPLOADS = b"""<ListMultipartUploadsResult><Upload><Key>lab/ab/cd</Key><UploadId>one</UploadId>
<Initiated>2026-01-31T12:00:00Z</Initiated></Upload></ListMultipartUploadsResult>"""
BEGUN = b"<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>"
URL = b"s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1"


def readers() -> dict[str, Reader]:
    """Of this part."""
    return {
        "a bucket's page": Reader(read_page, (PAGE,), (BadListing,)),
        "a bucket's uploads": Reader(read_uploads, (UPLOADS,), (BadListing,)),
        "a bucket's upload": Reader(read_upload_id, (BEGUN,), (BadListing,)),
        "a bucket's refusal": Reader(code_of, (b"<Error><Code>NoSuchKey</Code></Error>",), ()),
        "a bucket's address": Reader(
            lambda data: place_of(data.decode("latin-1")), (URL,), (BadPlace,)
        ),
    }
