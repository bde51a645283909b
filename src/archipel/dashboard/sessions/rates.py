"""How often one address may try to log in: a bucket each, bounded in number. The clock is an argument."""

from collections import OrderedDict

BURST = 30
PER_S = 0.5
MAX_ADDRESSES = 4096


class Rates:
    """Of one lab; whoever was not heard of for longest is forgotten, in its favour."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, address: str, now_ms: int) -> bool:
        """Whether there was one left."""
        left, at_ms = self._left.pop(address, (float(BURST), now_ms))
        left = min(BURST, left + max(now_ms - at_ms, 0) / 1000 * PER_S)
        is_let_in = left >= 1
        self._left[address] = (left - is_let_in, now_ms)
        if len(self._left) > MAX_ADDRESSES:
            self._left.popitem(last=False)
        return is_let_in
