"""What a lab knows of those that may continue its ledger, and of those whose ledger it was. Frozen; part of the state."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Named:
    """The newest `successors.named`."""

    entry: int
    """Its position in the ledger."""
    dids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Succession:
    """A `lab.succeeded`."""

    entry: int
    """Its position in the ledger: so many entries are the predecessor's."""
    predecessor: str
