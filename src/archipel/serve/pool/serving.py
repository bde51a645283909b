"""A pool behind the door: what is served is its gateway's engine, and the fingerprint says what its bits depend on."""

from pathlib import Path

import torch

from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.model.tokenizer import Tokenizer
from archipel.model.weight_files import num_weights
from archipel.serve.asked import About
from archipel.serve.desk import Desk, Room
from archipel.serve.grammar import Grammars
from archipel.serve.pool.gateway import PoolEngine
from archipel.serve.served import Served


def serve_pool(name: str, model: Path, engine: PoolEngine, usual_tokens: int, since: int) -> Served:
    """Begin to answer; devices may join later.

    since: Unix seconds.

    Raises:
        InvalidTokenizer: the model's cannot be used.
    """
    tokenizer = Tokenizer.from_directory(model)
    return Served(
        name=name,
        tokenizer=tokenizer,
        desk=Desk(engine, Room()),
        grammars=Grammars(tokenizer, engine.config.vocab_size),
        positions=engine.longest,
        usual_tokens=usual_tokens,
        adapter=None,
        fingerprint=fingerprint_of(engine),
        since=since,
        takes_bends=engine.form.arithmetic.takes_bends,
        about=About(
            family=engine.config.family,
            num_parameters=num_weights(model),
            num_bytes=sum(each.stat().st_size for each in model.glob("*.safetensors")),
            precision=engine.form.name,
            dimensions=engine.config.hidden_size,
        ),
    )


def fingerprint_of(engine: PoolEngine) -> str:
    """By the exact contract its identity, whatever the devices are; else that processors of other kinds differ."""
    arithmetic = engine.form.arithmetic
    if isinstance(arithmetic, ExactArithmetic):
        return f"archipel-pool-{arithmetic.variant.identity}"
    threads = torch.get_num_threads()
    return (
        f"archipel-pool-{engine.form.name}-varies-by-processor-{threads}t-torch{torch.__version__}"
    )
