"""Entries into tiles and bundles, one after the other, from whatever stands at the end of a smaller log. Pure."""

from collections.abc import Callable
from typing import Protocol

from archipel.ledger.merkle import leaf_hash
from archipel.ledger.storage import LedgerCorrupt
from archipel.ledger.tiles import (
    ENTRIES,
    TILE_WIDTH,
    BadTile,
    Place,
    bundle,
    places_at_end,
    root_of_tile,
)

Emit = Callable[[Place, bytes], None]


class Held(Protocol):
    """What stands there already."""

    def bundle(self, place: Place) -> list[bytes]:
        """The entries of a bundle."""

    def hashes(self, place: Place) -> list[bytes]:
        """The hashes of a tile."""


class Builder:
    """Entries into files, a tile at a time, from whatever stood at the end of a smaller log."""

    def __init__(self, held: Held, start: int, size: int, emit: Emit) -> None:
        """held: reads back what is partial at `start` entries. emit: is given every file from there on."""
        self._size, self._emit, self._added = size, emit, start
        self._hashes: dict[int, list[bytes]] = {}
        self._done: dict[int, int] = {}
        self._bundle: list[bytes] = []
        for place in places_at_end(start):
            is_full = place.width == TILE_WIDTH
            self._done[place.level] = place.index + is_full
            if not is_full and place.level == ENTRIES:
                self._bundle = held.bundle(place)
            elif not is_full:
                self._hashes[place.level] = held.hashes(place)

    def add(self, entry: bytes) -> None:
        """The next entry."""
        if self._added == self._size:
            raise LedgerCorrupt(f"more entries than the {self._size} that the signed head covers")
        self._added += 1
        self._bundle.append(entry)
        self._push(0, leaf_hash(entry))
        if len(self._bundle) == TILE_WIDTH:
            self._emit_bundle()

    def finish(self) -> None:
        """There are no more."""
        if self._added != self._size:
            raise LedgerCorrupt(
                f"{self._added} entries came, the signed head covers {self._size}: some were left out"
            )
        if self._bundle:
            self._emit_bundle()
        for level, hashes in self._hashes.items():
            if hashes:
                self._emit(Place(level, self._done.get(level, 0), len(hashes)), b"".join(hashes))

    def _push(self, level: int, value: bytes) -> None:
        hashes = self._hashes.setdefault(level, [])
        hashes.append(value)
        if len(hashes) == TILE_WIDTH:
            index = self._done.get(level, 0)
            self._emit(Place(level, index, TILE_WIDTH), b"".join(hashes))
            self._done[level] = index + 1
            self._hashes[level] = []
            self._push(level + 1, root_of_tile(hashes))

    def _emit_bundle(self) -> None:
        index = self._done.get(ENTRIES, 0)
        try:
            data = bundle(self._bundle)
        except BadTile as error:
            raise LedgerCorrupt(str(error)) from None
        self._emit(Place(ENTRIES, index, len(self._bundle)), data)
        if len(self._bundle) == TILE_WIDTH:
            self._done[ENTRIES] = index + 1
            self._bundle = []
