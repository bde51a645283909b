"""The loss of windows: documents do not see each other, and what does not fit is refused."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from archipel.model.network import causal_attention
from archipel.training.inner.windows import BadWindows, WindowLoss, checked, evaluate
from training.inner.texts import BATCH, LENGTH, tiny_windows
from training.tiny_learner import VOCAB, tiny_model

torch.set_num_threads(1)


def alone(model, tokens) -> list[float]:
    """Nats of each token of one document but the first, by the textbook."""
    ids = torch.tensor(np.array(tokens), dtype=torch.int64)[None]
    if ids.shape[1] < 2:
        return []
    hidden = model(ids[:, :-1], torch.arange(ids.shape[1] - 1)[None], causal_attention)
    logits = model.logits(hidden)[0]
    return F.cross_entropy(logits, ids[0, 1:], reduction="none").tolist()


@pytest.mark.parametrize("tie", [True, False])
def test_a_documents_loss_is_that_of_the_document_alone(tie):
    model, (tokens, documents) = tiny_model(2, tie_word_embeddings=tie), tiny_windows(5)
    expected = [
        nats
        for row, own in zip(tokens, documents, strict=True)
        for number in (0, 1)
        for nats in alone(model, row[own == number])
    ]
    fit = checked((tokens, documents), model.config, BATCH, LENGTH)
    found = WindowLoss(model)(fit).tolist()
    assert found == pytest.approx(expected, abs=2e-5)
    total, count = evaluate(model, [(tokens, documents)])
    assert count == len(expected)
    assert total == pytest.approx(sum(expected), rel=1e-5)


def test_windows_of_one_document_each_need_no_mask_and_lose_nothing():
    model, (tokens, documents) = tiny_model(2), tiny_windows(5)
    expected = [nats for row in tokens for nats in alone(model, row)]
    total, count = evaluate(model, [(tokens, np.zeros_like(documents))])
    assert (count, total) == (BATCH * LENGTH, pytest.approx(sum(expected), rel=1e-5))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, d: (t[:, 1:], d), "expected"),
        (lambda t, d: (t, d[1:]), "as many as the batch"),
        (lambda t, d: (t.astype(np.float32), d), "integers"),
        (lambda t, d: (t - 1 - t.min(), d), "another tokenizer"),
        (lambda t, d: (t + VOCAB - t.max(), d), "another tokenizer"),
    ],
)
def test_windows_of_another_shape_or_vocabulary_are_refused(change, said):
    with pytest.raises(BadWindows, match=said):
        checked(change(*tiny_windows(0)), tiny_model().config, BATCH, LENGTH)


def test_windows_longer_than_the_context_are_refused():
    tokens = np.zeros((1, 66), dtype=np.int32)
    with pytest.raises(BadWindows, match="context is 64"):
        checked((tokens, tokens), tiny_model().config, 1, 65)
    checked((tokens[:, 1:], tokens[:, 1:]), tiny_model().config, 1, 64)
