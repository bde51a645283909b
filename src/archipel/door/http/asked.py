"""One call as it came, with its body whole and its caller known."""

from collections.abc import Mapping
from dataclasses import dataclass

from archipel.door.door import Door
from archipel.door.http.links import Links
from archipel.door.keys import Tenant
from archipel.door.wire.answers import takes_protobuf


@dataclass(frozen=True, eq=False)
class Called:
    """See the module."""

    door: Door
    links: Links
    tenant: Tenant
    body: bytes
    parts: Mapping[str, str]
    """Of its address, by name."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    origin: str
    """Scheme and host by which the caller came."""

    @property
    def takes_protobuf(self) -> bool:
        """Whether results with numbers may be protobuf."""
        return takes_protobuf(self.headers.get("accept", ""))

    @property
    def idempotency_key(self) -> str | None:
        """The caller's own word for this call, if it has one."""
        said = self.headers.get("x-idempotency-key")
        return None if said is None else said[:200]
