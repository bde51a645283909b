"""A lab's addresses by the name of its key."""

from pathlib import Path

from archipel.directory.known import swept
from archipel.directory.shelf import loaded


class NotKnown(ValueError):
    """No address is known under this name; the message says why, and what to do."""


def addresses_of(folder: Path, did: str, now_ms: int) -> tuple[str, ...]:
    """Where the lab with this key is asked, by the cards that are kept in `folder`.

    Raises:
        NotKnown: no card of it is in force, it withdrew, or it contradicts itself. Unkept, OSError: what is kept cannot be read.
    """
    known = swept(loaded(folder), now_ms).labs.get(did)
    if known is None:
        raise NotKnown(
            f"no card of {did} is known on this machine; take some in with archipel labs add URL, or give an address"
        )
    if known.is_withdrawn:
        raise NotKnown(f"{did} withdrew its card; ask whoever runs it for an address")
    if known.is_contradicted:
        raise NotKnown(
            f"{did} signed two cards under number {known.card.said.number} that say different things; give an address"
        )
    return known.card.said.addresses
