"""A reader of a ledger's entries as pages show them: somebody else's ledger may hold anything."""

from functools import partial

from archipel.dashboard.pages.ledger import read_entry
from fuzz.reading import Reader
from tellings import golden_entries


def readers() -> dict[str, Reader]:
    """One: it promises to raise nothing."""
    return {"a shown entry": Reader(partial(read_entry, 7), golden_entries(), ())}
