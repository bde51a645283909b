"""Windows as a network takes them: no token is learned from, or attends to, another document."""

import numpy as np
import pytest
import torch

from archipel.model.config import DecoderConfig
from archipel.model.network import packed_attention, random_weights
from archipel.records.corpus import BadCorpus
from archipel.training.corpus.batches import batches, windows_of
from archipel.training.corpus.shard import TokenShard, read_shard
from corpora import shard_bytes

LENGTHS = (5, 7, 1, 20)
LENGTH = 8


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> TokenShard:
    return read_shard(shard_bytes(tmp_path_factory.mktemp("shard"), LENGTHS))


def test_windows_are_the_tokens_of_the_shard_each_a_target_once(shard: TokenShard) -> None:
    windows = windows_of(shard, [0, 1, 2, 3], LENGTH)
    assert windows.tokens.dtype == windows.documents.dtype == np.int32
    assert windows.tokens.shape == windows.documents.shape == (4, LENGTH + 1)
    assert windows.targets.reshape(-1).tolist() == shard.tokens[1:].tolist()
    assert windows.inputs.reshape(-1).tolist() == shard.tokens[:-1].tolist()
    assert windows_of(shard, [2, 0], LENGTH).tokens.tolist() == windows.tokens[[2, 0]].tolist()


def test_what_is_learned_is_predicted_from_its_own_document_by_its_place_in_it(
    shard: TokenShard,
) -> None:
    owner = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    windows = windows_of(shard, [0, 1, 2, 3], LENGTH)
    for row in range(4):
        at = row * LENGTH
        own = owner[at : at + LENGTH + 1]
        assert (windows.documents[row] == own - own[0]).all()
        assert (windows.counts[row] == (own[1:] == own[:-1])).all()
        begins = [max(at, int(np.argmax(owner == each))) for each in own[:-1]]
        assert (windows.positions[row] == np.arange(at, at + LENGTH) - begins).all()
    assert not windows.counts.all()
    assert (windows.segments == windows.documents[:, :-1]).all()


def test_a_document_in_a_window_is_read_as_if_it_were_alone(shard: TokenShard) -> None:
    config = DecoderConfig("llama", 50, 16, 2, 2, 1, 8, 24, 32)
    model = random_weights(config, seed=3).double()
    windows = windows_of(shard, [0, 1], LENGTH)
    inputs, positions, segments = (
        torch.from_numpy(each) for each in (windows.inputs, windows.positions, windows.segments)
    )
    with torch.no_grad():
        hidden = model(inputs, positions, packed_attention(segments))
        for row in range(2):
            for segment in segments[row].unique():
                own = segments[row] == segment
                alone = inputs[row, own].unsqueeze(0)
                places = torch.arange(alone.shape[1]).unsqueeze(0)
                read = model(alone, places, packed_attention(torch.zeros_like(alone)))
                assert torch.allclose(hidden[row, own], read[0], atol=1e-12)


def test_batches_are_the_windows_of_an_assignment_in_its_order(shard: TokenShard) -> None:
    parts = list(batches(shard, (3, 1, 0, 2), LENGTH, 2))
    assert len(parts) == 2
    assert (
        np.concatenate([part.tokens for part in parts]).tolist()
        == windows_of(shard, (3, 1, 0, 2), LENGTH).tokens.tolist()
    )


@pytest.mark.parametrize("numbers", [(), (4,), (-1,), (0, 99)])
def test_a_window_that_is_not_there_is_refused(shard: TokenShard, numbers: tuple[int, ...]) -> None:
    with pytest.raises(BadCorpus, match="where the shard has 4"):
        windows_of(shard, numbers, LENGTH)
