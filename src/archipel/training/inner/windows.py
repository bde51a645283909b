"""Windows of text as tensors, and their loss: next-token cross-entropy inside each document.

Parts: `checked` (are these windows of this run?), `WindowLoss` (a network seen as their loss, which FSDP2 wraps),
`evaluate` (of text that nothing is learned from).
Law: no attention and no loss across documents, so a document's loss is the same whatever stands beside it (up to the
order of float additions).
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from archipel.model.config import DecoderConfig
from archipel.model.network import Attention, Decoder, causal_attention, packed_attention
from archipel.training.products import FastLinear
from archipel.training.vocabulary import score_tokens

Windows = tuple[np.ndarray, np.ndarray]
"""Tokens (B, L + 1) and the number of the document each belongs to, both integers."""
AT_ONCE = 16_384
"""Inputs that `evaluate` has in the network at a time."""


class BadWindows(ValueError):
    """Windows that are not of the run's shape or vocabulary; the message says which of the two."""


def checked(windows: Windows, config: DecoderConfig, batch: int, sequence_length: int) -> Windows:
    """The same windows, as int64 and fit for the network.

    Raises:
        BadWindows: another shape or type, a token outside the vocabulary, or longer than the network's context.
    """
    tokens, documents = (np.asarray(each) for each in windows)
    expected = (batch, sequence_length + 1)
    if tokens.shape != expected or documents.shape != expected:
        raise BadWindows(
            f"tokens are {tokens.shape} and documents {documents.shape}; expected {expected} each: windows of "
            "sequence_length + 1 tokens, as many as the batch"
        )
    if tokens.dtype.kind not in "iu" or documents.dtype.kind not in "iu":
        raise BadWindows(
            f"tokens are {tokens.dtype}, documents {documents.dtype}; expected integers"
        )
    if int(tokens.min()) < 0 or int(tokens.max()) >= config.vocab_size:
        raise BadWindows(
            f"a token id is {int(tokens.max())} or {int(tokens.min())}, outside [0, {config.vocab_size}); the text was "
            "cut by another tokenizer than the model's"
        )
    if sequence_length > config.max_position_embeddings:
        raise BadWindows(
            f"windows of {sequence_length} inputs, and the model's context is {config.max_position_embeddings}; "
            "shorten sequence_length or lengthen the context"
        )
    return tokens.astype(np.int64), documents.astype(np.int64)


def num_targets(documents: np.ndarray) -> int:
    """Tokens (of windows' documents) that are predicted: those whose predecessor is of the same document."""
    return int(_is_predicted(documents).sum())


def _is_predicted(documents: np.ndarray) -> np.ndarray:
    same: np.ndarray = documents[:, 1:] == documents[:, :-1]
    return same


def parts(windows: Windows, size: int) -> Iterator[Windows]:
    """Windows, at most `size` at a time."""
    tokens, documents = windows
    for start in range(0, len(tokens), size):
        yield tokens[start : start + size], documents[start : start + size]


class WindowLoss(nn.Module):
    """A decoder seen as the loss of windows; one `forward` per micro-batch."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, windows: Windows) -> Tensor:
        """Nats (fp32, differentiable) of every predicted token of checked windows, in the order of the rows."""
        decoder = self.decoder
        device = next(decoder.parameters()).device
        tokens, documents = (torch.from_numpy(each).to(device) for each in windows)
        inputs_BT, targets_BT = tokens[:, :-1], tokens[:, 1:]
        positions_BT = torch.arange(inputs_BT.shape[1], device=device).expand_as(inputs_BT)
        with FastLinear():
            hidden_BTd = decoder(inputs_BT, positions_BT, _attention(windows[1], documents))
        hidden_Nd, targets_N = hidden_BTd.flatten(0, 1), targets_BT.flatten()
        is_predicted = _is_predicted(windows[1])
        if not is_predicted.all():
            places_N = torch.from_numpy(np.flatnonzero(is_predicted)).to(device)
            hidden_Nd = hidden_Nd.index_select(0, places_N)
            targets_N = targets_N.index_select(0, places_N)
        scaling = decoder.config.logits_scaling
        logprobs_N, _ = score_tokens(hidden_Nd, decoder.output_weight, targets_N, scaling)
        return -logprobs_N


def _attention(documents: np.ndarray, on_device: Tensor) -> Attention:
    """Who sees whom; where each window lies in one document, all that came before, which costs no mask."""
    inputs = documents[:, :-1]
    return (
        causal_attention if (inputs == inputs[:, :1]).all() else packed_attention(on_device[:, :-1])
    )


@torch.no_grad()
def evaluate(network: Decoder, batches: Iterable[Windows]) -> tuple[float, int]:
    """Sum of nats (added in float64) over all predicted tokens of these windows, and how many they are.

    Raises:
        BadWindows: some do not fit the network.
    """
    loss, total, tokens = WindowLoss(network), 0.0, 0
    for windows in batches:
        rows, width = np.shape(windows[0])
        fit = checked(windows, network.config, rows, width - 1)
        for part in parts(fit, max(1, AT_ONCE // (width - 1))):
            nats_N = loss(part).cpu().double()
            total += float(nats_N.sum())
            tokens += len(nats_N)
    return total, tokens
