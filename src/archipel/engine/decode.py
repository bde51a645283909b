"""One decode step: feed the last token of every running sequence.

Law: rows are slots 0 .. B-1; a row's sums run over its own positions in an order that neither the
other rows nor the width of the window can change (see `attention`).
"""

from torch import Tensor

from archipel.engine.adapters import Company
from archipel.engine.attention import round_up, window_granule
from archipel.engine.cache import Window
from archipel.engine.feeding import Note
from archipel.engine.machinery import Machinery
from archipel.engine.passing import Next, Passing


def decode(
    machinery: Machinery,
    tokens_B: Tensor,
    positions_B: Tensor,
    written: Tensor | int,
    company: Company | None = None,
    note: Note | None = None,
) -> Tensor:
    """What logits are computed from, (B, d), after `tokens_B` at `positions_B` of slots 0 .. B-1.

    `written`: where each row's keys and values go: `positions_B`, or elsewhere for rows that are not wanted and whose
    slots hold what must stay; or the one position at which all rows stand, which makes writing the cache cheaper.
    `company`: which adapter each row has, where the decoder has any; `note` is told which experts each row was sent to.
    """
    cache, rows = machinery.cache, tokens_B.shape[0]
    heads, group, dim = machinery.kv_heads, machinery.group, machinery.head_dim
    if isinstance(written, Tensor):
        window = round_up(int(positions_B.max()) + 1, window_granule(dim, group))
        bias = machinery.mask(positions_B, window)[:, None, None, :]
        bias = bias.expand(rows, heads, group, window).reshape(-1, group, window)
        rotations = machinery.rotations.index_select(0, positions_B)
        places: int | Window = cache.decode_places(written)
    else:
        # One row of everything serves all: same numbers, fewer and smaller operations.
        window = round_up(written + 1, window_granule(dim, group))
        bias = machinery.mask_row(written, window)
        rotations = machinery.rotations[written : written + 1]
        places = written
    windows, numbers = cache.windows(rows, window), machinery.decoder.arithmetic

    def attend_cached(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache.append(layer, numbers.held(k, v), places)
        return numbers.attend(q.reshape(-1, group, dim), windows[layer], bias).view(rows, -1)

    attend = Passing(attend_cached, Next(positions_B, written))
    return machinery.decoder.forward(tokens_B, rotations, attend, company=company, note=note)
