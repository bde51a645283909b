"""Requests to an S3-compatible store signed as AWS Signature Version 4 says, in headers or in an address.

Source: AWS, "Authenticating Requests (AWS Signature Version 4)" of the S3 API reference; its examples are vectors in
tests/blobs. Law: pure; the time is an argument. A secret is in no text that a signature leaves.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
"""The payload's hash in an address that is given away: the headers that it signs say which bytes it is for."""
NO_BYTES = hashlib.sha256().hexdigest()


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks."""

    key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    """Of credentials that expire."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs what one pair of credentials asks of one region."""

    credentials: Credentials
    region: str

    def headers(self, asked: "Asked", payload: str, now_s: float) -> dict[str, str]:
        """All headers to send, `Authorization` among them. `payload`: hex SHA-256 of the body."""
        stamp = _stamp(now_s)
        sent = {
            **asked.headers,
            "host": asked.host,
            "x-amz-content-sha256": payload,
            "x-amz-date": stamp,
        }
        if self.credentials.token is not None:
            sent["x-amz-security-token"] = self.credentials.token
        names, signature = self._signed(asked, asked.query, sent, payload, stamp)
        scope = self._scope(stamp)
        who = f"Credential={self.credentials.key_id}/{scope}"
        sent["authorization"] = f"{ALGORITHM} {who},SignedHeaders={names},Signature={signature}"
        return sent

    def query(self, asked: "Asked", lifetime_s: int, now_s: float) -> str:
        """The query of an address that anybody may use for `lifetime_s`, if they send the headers of `asked`."""
        stamp = _stamp(now_s)
        sent = {**asked.headers, "host": asked.host}
        query = {
            **asked.query,
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{self.credentials.key_id}/{self._scope(stamp)}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(lifetime_s),
            "X-Amz-SignedHeaders": ";".join(sorted(sent)),
        }
        if self.credentials.token is not None:
            query["X-Amz-Security-Token"] = self.credentials.token
        _, signature = self._signed(asked, query, sent, UNSIGNED, stamp)
        return f"{spelled_query(query)}&X-Amz-Signature={signature}"

    def _signed(
        self,
        asked: "Asked",
        query: Mapping[str, str],
        sent: Mapping[str, str],
        payload: str,
        stamp: str,
    ) -> tuple[str, str]:
        """Names of the signed headers, and the signature."""
        names = ";".join(sorted(sent))
        lines = "".join(f"{name}:{' '.join(sent[name].split())}\n" for name in sorted(sent))
        canonical = "\n".join(
            (asked.method, spelled_path(asked.path), spelled_query(query), lines, names, payload)
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join((ALGORITHM, stamp, self._scope(stamp), digest))
        key = f"AWS4{self.credentials.secret}".encode()
        for part in (stamp[:8], self.region, "s3", "aws4_request"):
            key = _hmac(key, part)
        return names, _hmac(key, text).hex()

    def _scope(self, stamp: str) -> str:
        return f"{stamp[:8]}/{self.region}/s3/aws4_request"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. Header names in lower case; path and query as they are meant, before they are spelled."""

    method: str
    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def spelled_path(path: str) -> str:
    """As it is sent and signed: each part once percent-encoded."""
    return quote(path, safe="/-_.~")


def spelled_query(query: Mapping[str, str]) -> str:
    """As it is sent and signed: sorted."""
    each = ((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in sorted(each))


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _stamp(now_s: float) -> str:
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
