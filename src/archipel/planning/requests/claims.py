"""What can be asked of `plan claims`."""

from dataclasses import dataclass

from archipel.planning.requests.option import option


@dataclass(frozen=True)
class ClaimsRequest:
    """To be described."""

    kind: str = option("h100", "kind of accelerator")
