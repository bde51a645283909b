"""A suffix array: where every text that occurs in some bytes begins, in the order of what follows there. Pure.

Texts lie one after the other, each closed by the byte END, which UTF-8 does not have; what comes after an end orders
nothing, so a text that lies there a thousand times costs no more than its own length.

Suffixes are sorted by their first bytes, which settles nearly all of ordinary text; those that are alike there are sorted
again by the ranks of what follows, twice as far each time (N. J. Larsson, K. Sadakane, Faster suffix sorting, Theoretical
Computer Science 387, 2007): log2 of the longest repeat rounds, and no memory but ranks.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

END = b"\xff"
FIRST_BYTES = 24
MAX_BYTES = 2**31 - 2
"""Places are 4 bytes wide."""
Range = tuple[int, int]


def suffix_array(data: bytes, tell: Callable[[str], None] = lambda where: None) -> array:
    """Places of all suffixes of `data` (type code `I`), sorted by the bytes that follow, up to the next END.

    Raises:
        ValueError: more bytes than places can name.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes cannot be indexed; at most {MAX_BYTES}")
    order, alike = _by_first_bytes(data, tell)
    if alike:
        _told_apart(data, order, alike, tell)
    return order


def found_at(data: bytes, suffixes: Sequence[int], text: bytes) -> Range:
    """Where in `suffixes` those stand that begin with `text`: from, to."""
    size = len(text)

    def beginning(place: int) -> bytes:
        return data[place : place + size]

    low = bisect_left(suffixes, text, key=beginning)
    return low, bisect_right(suffixes, text, low, key=beginning)


def _by_first_bytes(data: bytes, tell: Callable[[str], None]) -> tuple[array, list[Range]]:
    """All places by their first bytes, and the ranges that these do not tell apart."""
    starting = [array("I") for _ in range(256)]
    for place, byte in enumerate(data):
        starting[byte].append(place)

    def beginning(place: int) -> bytes:
        return data[place : place + FIRST_BYTES]

    order = array("I")
    alike: list[Range] = []
    for byte, found in enumerate(starting):
        tell(f"sorting the training data: {len(order)} of {len(data)} places")
        places = found.tolist()
        places.sort(key=beginning)
        alike += _runs(places, beginning, len(order))
        order.extend(places)
        starting[byte] = array("I")
    return order, alike


def _told_apart(data: bytes, order: array, alike: list[Range], tell: Callable[[str], None]) -> None:
    """Sort what is alike by the ranks of what follows, twice as far each time; in place."""
    size, step = len(order), FIRST_BYTES
    rank = array("i", bytes(4 * (size + 1)))
    for at, place in enumerate(order):
        rank[place] = at
    rank[size] = -1
    for low, high in alike:
        for place in order[low:high]:
            rank[place] = low
    while alike:
        alike = [
            each for each in alike if data.find(END, order[each[0]], order[each[0]] + step) < 0
        ]
        left: list[Range] = []
        for low, high in alike:
            tell(f"sorting the training data: alike for {step} bytes")
            left += _sorted_again(order, rank, (low, high), step)
        alike, step = left, 2 * step


def _sorted_again(order: array, rank: array, within: Range, step: int) -> list[Range]:
    """Ranges that are still alike. What is alike for `step` bytes ends `step` bytes on at the earliest."""
    low, high = within
    places = order[low:high].tolist()

    def following(place: int) -> int:
        return int(rank[place + step])

    places.sort(key=following)
    order[low:high] = array("I", places)
    left = list(_runs(places, following, low))  # before any rank of theirs changes
    for at, place in enumerate(places, low):
        rank[place] = at
    for start, end in left:
        for at in range(start, end):
            rank[order[at]] = start
    return left


def _runs(places: list[int], key: Callable[[int], object], base: int) -> Iterator[Range]:
    """Ranges of two or more neighbours with equal keys, counted from `base`."""
    if not places:
        return
    start, held = 0, key(places[0])
    for at in range(1, len(places)):
        found = key(places[at])
        if found != held:
            if at - start > 1:
                yield base + start, base + at
            start, held = at, found
    if len(places) - start > 1:
        yield base + start, base + len(places)
