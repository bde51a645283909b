"""A base that adapters are trained over and sampled with: frozen, with bf16 values in fp32.

Parts: `frozen`. Law: what is sampled is what is trained, so both have the same values.
"""

import torch

from archipel.model.network import Decoder


@torch.no_grad()
def frozen(decoder: Decoder) -> Decoder:
    """The same one; nothing trains it, and its values are those that bf16 has."""
    for parameter in decoder.parameters():
        parameter.requires_grad_(False)
        parameter.copy_(parameter.to(torch.bfloat16))
    return decoder.eval()
