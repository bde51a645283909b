"""What can be asked of `plan serve`."""

from dataclasses import dataclass

from archipel.planning.requests.option import option


@dataclass(frozen=True)
class ServeRequest:
    """To be described."""

    kind: str = option("h100", "kind of accelerator")
