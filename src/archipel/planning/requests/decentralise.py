"""What can be asked of `plan decentralise`."""

from dataclasses import dataclass

from archipel.planning.requests.option import option


@dataclass(frozen=True)
class DecentraliseRequest:
    """To be described."""

    kind: str = option("h100", "kind of accelerator")
