"""What attention adds to the six FLOP per parameter and token of training.

Per token, forward and backward, attention multiplies 12·layers·width·sequence times (Chowdhery et al. 2022,
appendix B: counted in the utilisation that runs publish, causal masking not saved). With a usual shape of
12·layers·width² parameters that is sequence / (6·width) of 6ND.
"""

from typing import Any

Numbers = Any


def share(sequence: Numbers, width: Numbers) -> Numbers:
    """Attention's FLOP over 6ND."""
    return sequence / (6.0 * width)


def per_token(layers: Numbers, width: Numbers, sequence: Numbers) -> Numbers:
    """FLOP of attention for one token of training."""
    return 12.0 * layers * width * sequence
