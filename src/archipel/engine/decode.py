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
    shared_position: int | None,
    company: Company | None = None,
    note: Note | None = None,
) -> Tensor:
    """What logits are computed from, (B, d), after `tokens_B` at `positions_B` of slots 0 .. B-1.

    `shared_position` says that all rows stand there, which makes writing the cache cheaper; `company`, which
    adapter each row has, where the decoder has any; `note` is told which experts each row was sent to.
    """
    cache, rows = machinery.cache, tokens_B.shape[0]
    heads, group, dim = machinery.kv_heads, machinery.group, machinery.head_dim
    if shared_position is None:
        window = round_up(int(positions_B.max()) + 1, window_granule(dim, group))
        bias = machinery.mask(positions_B, window)[:, None, None, :]
        bias = bias.expand(rows, heads, group, window).reshape(-1, group, window)
        rotations = machinery.rotations.index_select(0, positions_B)
        places: int | Window = cache.decode_places(positions_B)
    else:
        # One row of everything serves all: same numbers, fewer and smaller operations.
        window = round_up(shared_position + 1, window_granule(dim, group))
        bias = machinery.mask_row(shared_position, window)
        rotations = machinery.rotations[shared_position : shared_position + 1]
        places = shared_position
    windows, numbers = cache.windows(rows, window), machinery.decoder.arithmetic

    def attend_cached(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache.append(layer, numbers.held(k, v), places)
        return numbers.attend(q.reshape(-1, group, dim), windows[layer], bias).view(rows, -1)

    attend = Passing(attend_cached, Next(positions_B, shared_position))
    return machinery.decoder.forward(tokens_B, rotations, attend, company=company, note=note)
