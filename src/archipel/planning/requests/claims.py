"""What can be asked about public claims."""

from dataclasses import dataclass

from archipel.planning.requests.option import option


@dataclass(frozen=True)
class ClaimsRequest:
    """Public claims about labs: each under its possible readings, computed, with a verdict."""

    claim: str = option("", "one claim in full, or several after commas; default: all of them")
    all: bool = option(False, "every reading of every claim; default: three of each")
