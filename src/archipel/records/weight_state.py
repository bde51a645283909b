"""A version's state digest, heard part by part: of a trillion weights as of few, in the memory of one part.

Parts: `StateHasher`; `state_of` (of tensors at hand). Law: the digest is that of the canonical JSON list of all tensors'
entries in the order of their names, whatever the parts, so that a version in parts and the same weights unparted have
one name (`model.manifest`).
"""

import hashlib
from collections.abc import Iterable

from archipel.records.canonical import canonical_json
from archipel.records.part_manifest import TensorFact
from archipel.records.weight_parts import BadParts


class StateHasher:
    """Takes tensors in the order of their names."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256(b"[")
        self._last = ""
        self.tensors = 0
        """How many it was given."""

    def add(self, tensors: Iterable[TensorFact]) -> None:
        """The next ones.

        Raises:
            BadParts: a name that does not come after the one before.
        """
        for each in tensors:
            if each.name <= self._last:
                raise BadParts(
                    f"{each.name} comes after {self._last}; expected ascending names of whole tensors"
                )
            self._hasher.update((b"," if self.tensors else b"") + canonical_json(each.fields()))
            self._last, self.tensors = each.name, self.tensors + 1

    @property
    def state(self) -> str:
        """State digest of what was given so far."""
        closed = self._hasher.copy()
        closed.update(b"]")
        return f"sha256:{closed.hexdigest()}"


def state_of(tensors: Iterable[TensorFact]) -> str:
    """State digest of these, in the order of their names."""
    hasher = StateHasher()
    hasher.add(tensors)
    return hasher.state
