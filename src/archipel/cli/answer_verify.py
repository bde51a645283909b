"""`archipel answer verify`: a signed answer, recomputed by whoever received it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import Mendable, at_work, mending, printable, show
from archipel.cli.engines import device_option
from archipel.cli.telling import seldom

if TYPE_CHECKING:
    from archipel.serve.signed.document import SignedAnswer
    from archipel.serve.signed.verifying import Recomputed

GIGABYTE = 1_000_000_000
MAX_TEXT_SHOWN = 4000


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of the model that answered.",
)
@click.option(
    "--adapter",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Directory of the adapter over it, where the answer names one.",
)
@click.option("--by", metavar="DID", help="Whoever has to have signed it [anybody].")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library [as many as answered].",
)
@click.option(
    "--max-cache-gb",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.001, 4096),
    help="Memory for what is being read and said.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@device_option("recomputes")
def command(
    file: Path,
    model: Path,
    adapter: Path | None,
    by: str | None,
    threads: int | None,
    max_cache_gb: float,
    as_json: bool,
    device: str,
) -> None:
    """Recompute the signed answer in FILE: its signature, its model's digests, each token and log-probability.

    By the exact contract every machine gets the same bits, so that a difference is a false answer. In floating point
    equality is promised where the fingerprint is the same; elsewhere differences are told and show nothing. Exit code 1:
    it is not equal.

    \b
    Examples:
      archipel answer verify answer.json --model trained
      archipel answer verify answer.json --model trained --by did:key:z6Mk...
    """
    from archipel.serve.signed.document import MAX_FILE_BYTES, BadAnswer, read_answer

    with file.open("rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    with mending(BadAnswer):
        answer, signer = read_answer(data)
    if by is not None and by != signer:
        raise Mendable(f"it is signed by {signer}; expected {by:.80}")
    at_work("recomputing")
    found = _recomputed(answer, _folder(model, adapter, device), threads, max_cache_gb)
    show(
        _facts(answer, signer, found),
        as_json,
        lambda: "\n".join(_lines(answer, signer, found)),
    )
    if found.differences:
        raise Mendable(_verdict(found))


def _folder(model: Path, adapter: Path | None, device: str) -> Any:
    from archipel.model.backends import backend_of
    from archipel.model.directory import InvalidModel
    from archipel.work.folders import Folder

    with mending(InvalidModel, OSError):
        return Folder(model, adapter, backend_of(model), device)


def _recomputed(
    answer: "SignedAnswer", folder: Any, threads: int | None, max_cache_gb: float
) -> "Recomputed":

    import torch

    from archipel.engine.capacity import EngineLimits
    from archipel.model.devices import NoDevice, ready_device
    from archipel.model.directory import InvalidModel
    from archipel.model.tokenizer import InvalidTokenizer
    from archipel.serve.signed.document import BadAnswer
    from archipel.serve.signed.verifying import OtherModel, recompute

    torch.set_num_threads(threads or min(answer.threads or 1, 1024))
    limits = EngineLimits.serving(round(max_cache_gb * GIGABYTE))
    tell = seldom()

    def progress(num_tokens: int) -> None:
        tell(f"{num_tokens} tokens recomputed")

    with mending(InvalidModel, InvalidTokenizer, NoDevice, BadAnswer, OtherModel, OSError):
        ready_device(folder.device)
        return recompute(answer, folder, limits, progress)


def _verdict(found: "Recomputed") -> str:
    first = found.differences[0]
    if found.is_promised:
        return f"the answer does not hold: {first}"
    return (
        f"not equal here ({first}), where equality is not promised: it was computed in floating point on another "
        "machine, or with another tensor library or number of threads"
    )


def _facts(answer: "SignedAnswer", signer: str, found: "Recomputed") -> dict[str, Any]:
    return {
        "signer": signer,
        "at_ms": answer.at_ms,
        "model": answer.model,
        "contract": answer.contract,
        "weights": answer.weights,
        "tokenizer": answer.tokenizer,
        "adapter": answer.adapter,
        "fingerprint": answer.fingerprint,
        "fingerprint_here": found.fingerprint,
        "equality_promised": found.is_promised,
        "equal": not found.differences,
        "tokens": found.num_tokens,
        "tokens_equal": found.num_equal,
        "largest_gap_nats": found.gap,
        "differences": [vars(each) for each in found.differences],
        "texts": list(found.texts),
    }


def _lines(answer: "SignedAnswer", signer: str, found: "Recomputed") -> Iterator[str]:
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(answer.at_ms / 1000, UTC).isoformat(timespec="seconds")
    yield f"signed by {signer}, who says {at}"
    yield f"model {printable(answer.model)}: weights {answer.weights}, tokenizer {answer.tokenizer}"
    if answer.adapter is not None:
        yield f"adapter {answer.adapter}"
    yield f"computed as {printable(answer.fingerprint)}"
    if not answer.is_exact and not found.is_promised:
        yield f"recomputed as {found.fingerprint}: equality is promised on the same fingerprint only"
    for number, text in enumerate(found.texts):
        yield f"choice {number}: {printable(text[:MAX_TEXT_SHOWN])}"
    if found.differences:
        yield f"{found.num_equal} of {found.num_tokens} tokens are equal to the bit"
        yield from (f"  {each}" for each in found.differences)
        yield f"  log-probabilities of equal tokens are at most {found.gap:.3g} nats apart"
    else:
        yield f"equal: {found.num_tokens} tokens, and every bit of their log-probabilities"
