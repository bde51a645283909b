"""One decode step: feed the last token of every running sequence.

Law: rows are slots 0 .. B-1; a row's sums run over its own positions in an order that neither the
other rows nor the width of the window can change (see `attention`).
"""

import torch
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
    step: Next,
    company: Company | None = None,
    note: Note | None = None,
    wanted: int | None = None,
) -> Tensor:
    """What logits are computed from, (B, d), after `tokens_B` where `step` says, of slots 0 .. B-1.

    `company`: which adapter each row has, where the decoder has any; `note` is told which experts each row was sent to.
    `wanted`: rows from there on are company for products alone: they see nothing and leave nothing; None: all count.
    """
    cache, rows, written = machinery.cache, tokens_B.shape[0], step.written
    heads, group, dim = machinery.kv_heads, machinery.group, machinery.head_dim
    seeing = rows if wanted is None else min(rows, max(wanted, machinery.min_attended))
    if isinstance(written, Tensor):
        positions = step.positions[:seeing]
        window = round_up(int(positions.max()) + 1, window_granule(dim, group))
        bias = machinery.mask(positions, window)[:, None, None, :]
        bias = bias.expand(seeing, heads, group, window).reshape(-1, group, window)
        rotations = machinery.rotations.index_select(0, step.positions)
        places: int | Window = cache.decode_places(written[:seeing])
    else:
        # One row of everything serves all: same numbers, fewer and smaller operations.
        window = round_up(written + 1, window_granule(dim, group))
        bias = machinery.mask_row(written, window)
        rotations = machinery.rotations[written : written + 1]
        places = written
    windows, numbers = cache.windows(seeing, window), machinery.decoder.arithmetic
    mixed = torch.zeros(rows, heads * group * dim, dtype=numbers.dtype, device=machinery.device)
    mixed_seen = mixed.narrow(0, 0, seeing)

    def attend_all(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache.append(layer, numbers.held(k, v), places)
        return numbers.attend(q.reshape(-1, group, dim), windows[layer], bias).view(rows, -1)

    def attend_some(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache.append(layer, numbers.held(k, v), places, seeing)
        seen = q.narrow(0, 0, seeing).reshape(-1, group, dim)
        found = numbers.attend(seen, windows[layer], bias)
        mixed_seen.copy_(found.view(seeing, -1))
        return mixed

    attend = Passing(attend_all if seeing == rows else attend_some, step)
    return machinery.decoder.forward(tokens_B, rotations, attend, company=company, note=note)
