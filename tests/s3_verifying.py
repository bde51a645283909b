"""moto's server behind a door that refuses what AWS refuses and moto takes; run by the Python that has moto.

A body of another SHA-256 than `x-amz-checksum-sha256` says, and a signed address that botocore (AWS's own library) signs
otherwise for what was really sent, or whose time is over. What the checksum said, HEAD tells.

`python s3_verifying.py PORT`
"""

import base64
import datetime
import hashlib
import sys
from io import BytesIO
from urllib.parse import parse_qsl, quote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

WHO = Credentials("key", "secret")
CHECKSUM = "HTTP_X_AMZ_CHECKSUM_SHA256"


class Door:
    """WSGI around moto."""

    def __init__(self):
        self._app = DomainDispatcherApplication(create_backend_app)
        self._told = {}

    def __call__(self, environ, start):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        query = dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        if "X-Amz-Signature" in query and (code := _fault(environ, query)):
            return _refused(start, "403 Forbidden", code)
        said = environ.get(CHECKSUM)
        if said is not None:
            if base64.b64encode(hashlib.sha256(body).digest()).decode() != said:
                return _refused(start, "400 Bad Request", "BadDigest")
            self._told[path] = said
        elif method in ("PUT", "DELETE"):
            self._told.pop(path, None)

        def started(status, headers, *rest):
            tells = method == "HEAD" and environ.get("HTTP_X_AMZ_CHECKSUM_MODE") == "ENABLED"
            if tells and path in self._told:
                headers = [*headers, ("x-amz-checksum-sha256", self._told[path])]
            return start(status, headers, *rest)

        return self._app(environ, started)


def _fault(environ, query):
    """Why an address does not hold; empty: it does."""
    query = dict(query)
    said, stamp = query.pop("X-Amz-Signature"), query["X-Amz-Date"]
    at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    if datetime.datetime.now(datetime.UTC) > at + datetime.timedelta(
        seconds=int(query["X-Amz-Expires"])
    ):
        return "AccessDenied"
    headers = {}
    for name in query["X-Amz-SignedHeaders"].split(";"):
        key = name.upper().replace("-", "_")
        headers[name] = environ.get(key if key == "CONTENT_LENGTH" else f"HTTP_{key}", "")
    spelled = "&".join(
        f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items())
    )
    url = f"http://{environ['HTTP_HOST']}{quote(environ['PATH_INFO'], safe='/-_.~')}?{spelled}"
    asked = AWSRequest(method=environ["REQUEST_METHOD"], url=url, headers=headers)
    asked.context["timestamp"] = stamp
    region = query["X-Amz-Credential"].split("/")[2]
    signer = S3SigV4QueryAuth(WHO, "s3", region)
    text = signer.string_to_sign(asked, signer.canonical_request(asked))
    return "" if signer.signature(text, asked) == said else "SignatureDoesNotMatch"


def _refused(start, status, code):
    start(status, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code></Error>".encode()]


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), Door(), threaded=True)
