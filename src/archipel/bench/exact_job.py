"""One process of `archipel bench exact`, under whatever instructions its environment leaves it.

Parts: `CAPS` (those environments), `run_job` (start one and hear its results), and what runs when this file
is a program: `speed`, `record` (answers of one engine, kept), `recompute` (the same answers from one
prefill, compared), and `make` and `audit` of `bench.honest`. Law: a job ends when whoever asked for it does, however that ended.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from archipel.bench.exact_speed import speed
from archipel.bench.exact_subjects import (
    Answers,
    answers_of,
    engine_of,
    recomputed,
    requests_of,
    subject_named,
)
from archipel.bench.honest import audit, make
from archipel.engine.exact import backends

_SSE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
CAPS: dict[str, dict[str, str]] = {
    "full": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "sse4.1": {**_SSE, "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "compatible": {**_SSE, "MKL_CBWR": "COMPATIBLE"},
}  # fmt: skip
"""Which instructions torch, oneDNN and MKL may use. FBGEMM asks the processor, so capped processes leave it out."""
STEP_LIMIT_S = 1800.0
_END_LIMIT_S = 60.0
_TAIL = 1500
JOB, ERRORS = "job.json", "errors.txt"
Rows = list[dict[str, Any]]


class JobFailed(RuntimeError):
    """A process did not do its job; the message carries the end of its output."""


def run_job(job: dict[str, Any], folder: Path, environment: Mapping[str, str]) -> Iterator[Rows]:
    """The rows of each step of a job, as a process of its own finds them.

    Raises:
        JobFailed: it ended badly, or a step took half an hour.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOB).write_text(json.dumps(job))
    command = [sys.executable, "-m", "archipel.bench.exact_job", str(folder)]
    caps = CAPS[job["cap"]] | {"OMP_NUM_THREADS": str(job["threads"])}
    name = f"{job['do']} under {job['cap']}"
    with (folder / ERRORS).open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603  our own module
            command, env={**environment, **caps}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=errors,
        )  # fmt: skip
        try:
            for _ in job["steps"]:
                yield json.loads(_line(process, name) or _fail(process, name, folder))
            if process.wait(_END_LIMIT_S) != 0:
                _fail(process, name, folder)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _line(process: subprocess.Popen[bytes], name: str) -> bytes:
    """The next result; empty at the end."""
    late = threading.Timer(STEP_LIMIT_S, process.kill)
    late.start()
    try:
        assert process.stdout is not None  # noqa: S101  a pipe was asked for
        return process.stdout.readline()
    finally:
        late.cancel()


def _fail(process: subprocess.Popen[bytes], name: str, folder: Path) -> bytes:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_LIMIT_S)
    tail = (folder / ERRORS).read_text(errors="replace")[-_TAIL:]
    if process.poll() == -signal.SIGKILL:
        raise JobFailed(f"{name} was killed, or a step took more than {STEP_LIMIT_S:.0f} s")
    raise JobFailed(f"{name} failed with code {process.poll()}: {tail}")


def _speed(job: dict[str, Any], folder: Path) -> Iterator[Rows]:
    subject, steps = subject_named(job["steps"][0]["model"]), job["steps"]
    kinds, batches = steps[0]["kinds"], [step["batch"] for step in steps]
    for rows in speed(subject, kinds, batches, steps[0]["rounds"]):
        yield [{"cap": job["cap"], **row} for row in rows]


def _record(job: dict[str, Any], folder: Path) -> Iterator[Rows]:
    for step in job["steps"]:
        subject = subject_named(step["model"])
        new = min(step["new"], subject.config.max_position_embeddings // 2)
        requests = requests_of(subject, -(-step["positions"] // new), new)
        made = answers_of(engine_of(subject, step["variant"]), requests)
        kept = {"tokens": made.tokens, "logprobs": made.logprobs}
        save_file(kept, folder / f"{answers_name(step)}.safetensors")
        yield []  # nothing to tell before it is recomputed


def answers_name(step: Mapping[str, Any]) -> str:
    """File of the answers that this step records or recomputes."""
    model = hashlib.sha256(step["model"].encode()).hexdigest()[:8]
    return f"{Path(step['model']).name}-{model}-{step['variant']}-{step['positions']}-{step['new']}"


def _recompute(job: dict[str, Any], folder: Path) -> Iterator[Rows]:
    for step in job["steps"]:
        yield [{"arm": step["arm"], "cap": job["cap"], **_compared(step, Path(job["answers"]))}]


def _compared(step: Mapping[str, Any], kept_in: Path) -> dict[str, Any]:
    """One model and variant: from one prefill, three rollouts alone, a few together."""
    subject, kind = subject_named(step["model"]), step["variant"]
    kept = load_file(kept_in / f"{answers_name(step)}.safetensors")
    given = Answers(kept["tokens"], kept["logprobs"])
    requests = requests_of(subject, *given.tokens.shape)
    found = recomputed(subject, kind, requests, given.tokens)
    few = requests[: step["few"]]
    engine = engine_of(subject, kind)
    again = [(answers_of(engine, [few[i]]), slice(i, i + 1)) for i in range(min(3, len(few)))]
    again.append((answers_of(engine, few), slice(len(few))))
    digest = hashlib.sha256(found.tokens.tobytes() + found.logprobs.tobytes())
    return {
        "model": subject.name,
        "variant": kind,
        "positions": given.tokens.size,
        "tokens_differ": _differ(found.tokens, given.tokens),
        "logprobs_differ": _differ(found.logprobs, given.logprobs),
        "decoded": sum(each.tokens.size for each, _ in again),
        "decoded_differ": sum(
            _differ(each.tokens, given.tokens[rows]) + _differ(each.logprobs, given.logprobs[rows])
            for each, rows in again
        ),
        "digest": digest.hexdigest()[:16],
    }


def _differ(these: np.ndarray, those: np.ndarray) -> int:
    """Places whose bits are not the same."""
    bits = np.dtype(f"u{these.dtype.itemsize}")
    return int((these.view(bits) != those.astype(these.dtype).view(bits)).sum())


_DO: dict[str, Callable[[dict[str, Any], Path], Iterator[Rows]]] = {
    "speed": _speed, "record": _record, "recompute": _recompute,
    "make": lambda job, folder: make(job), "audit": lambda job, folder: audit(job),
}  # fmt: skip


def main(folder: Path, out: IO[str]) -> None:
    """Do the job that lies in `folder`, a line of JSON for each step."""
    job = json.loads((folder / JOB).read_text())
    torch.set_num_threads(job["threads"])
    left_out = {"fbgemm"} if job["cap"] in ("sse4.1", "compatible") else set()
    kept = [
        each
        for each in backends.BACKENDS
        if each.name not in left_out | set(job.get("without", ()))
    ]
    backends.BACKENDS = tuple(kept)
    for rows in _DO[job["do"]](job, folder):
        print(json.dumps(rows), file=out, flush=True)


def _end_with(descriptor: int) -> None:
    """Nobody wants the results of a measurement whose process is gone."""
    os.read(descriptor, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    main(Path(sys.argv[1]), sys.stdout)
