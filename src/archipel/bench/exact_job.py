"""One process of `archipel bench exact`, under whatever instructions its environment leaves it.

Parts: `CAPS` (those environments), `run_job` (start one, wait), and what runs when this file is a program:
`speed`, `record` (answers of one engine, kept) and `recompute` (the same answers from one prefill, compared).
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
from archipel.engine.exact import backends

_SSE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
CAPS: dict[str, dict[str, str]] = {
    "full": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "sse4.1": {**_SSE, "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "compatible": {**_SSE, "MKL_CBWR": "COMPATIBLE"},
}  # fmt: skip
"""Which instructions torch, oneDNN and MKL may use. FBGEMM asks the processor, so capped processes leave it out."""
JOB_LIMIT_S = 1800.0
NUM_NEW = 100
_TAIL = 1500
JOB, RESULT = "job.json", "result.json"


class JobFailed(RuntimeError):
    """A process did not do its job; the message carries the end of its output."""


def run_job(job: dict[str, Any], folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Do one job in a process of its own.

    Raises:
        JobFailed: it ended badly, or took half an hour.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOB).write_text(json.dumps(job))
    command = [sys.executable, "-m", "archipel.bench.exact_job", str(folder)]
    caps = CAPS[job["cap"]] | {"OMP_NUM_THREADS": str(job["threads"])}
    try:
        done = subprocess.run(  # noqa: S603  our own module
            command, env={**environment, **caps}, capture_output=True, text=True, timeout=JOB_LIMIT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise JobFailed(f"{job['do']} under {job['cap']} took more than {JOB_LIMIT_S} s") from None
    if done.returncode != 0:
        raise JobFailed(f"{job['do']} under {job['cap']} failed: {done.stderr[-_TAIL:]}")
    found: dict[str, Any] = json.loads((folder / RESULT).read_text())
    return found


def _speed(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    subject = subject_named(job["model"])
    return {"rows": speed(subject, job["kinds"], job["batch_sizes"], job["rounds"])}


def _record(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    for each in job["cases"]:
        subject = subject_named(each["model"])
        new = min(NUM_NEW, subject.config.max_position_embeddings // 2)
        requests = requests_of(subject, -(-each["positions"] // new), new)
        made = answers_of(engine_of(subject, each["variant"]), requests)
        kept = {"tokens": made.tokens, "logprobs": made.logprobs}
        save_file(kept, folder / f"{each['name']}.safetensors")
    return {}


def _recompute(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {"rows": [_compared(each, Path(job["answers"])) for each in job["cases"]]}


def _compared(case: dict[str, Any], kept_in: Path) -> dict[str, Any]:
    """One model and variant: from one prefill, three rollouts alone, a few together."""
    subject, kind = subject_named(case["model"]), case["variant"]
    kept = load_file(kept_in / f"{case['name']}.safetensors")
    given = Answers(kept["tokens"], kept["logprobs"])
    requests = requests_of(subject, *given.tokens.shape)
    found = recomputed(subject, kind, requests, given.tokens)
    few = requests[: case["few"]]
    engine = engine_of(subject, kind)
    again = [(answers_of(engine, [few[i]]), slice(i, i + 1)) for i in range(min(3, len(few)))]
    again.append((answers_of(engine, few), slice(len(few))))
    return {
        "model": subject.name,
        "variant": kind,
        "positions": given.tokens.size,
        "tokens_differ": int((found.tokens != given.tokens).sum()),
        "logprobs_differ": int((found.logprobs != given.logprobs).sum()),
        "decoded": sum(each.tokens.size for each, _ in again),
        "decoded_differ": sum(
            int(
                (each.tokens != given.tokens[rows]).sum()
                + (each.logprobs != given.logprobs[rows]).sum()
            )
            for each, rows in again
        ),
        "digest": hashlib.sha256(found.tokens.tobytes() + found.logprobs.tobytes()).hexdigest()[
            :16
        ],
    }


_DO: dict[str, Callable[[dict[str, Any], Path], dict[str, Any]]] = {
    "speed": _speed, "record": _record, "recompute": _recompute,
}  # fmt: skip


def main(folder: Path) -> None:
    """Do the job that lies in `folder`."""
    job = json.loads((folder / JOB).read_text())
    torch.set_num_threads(job["threads"])
    left_out = {"fbgemm"} if job["cap"] in ("sse4.1", "compatible") else set()
    kept = [
        each
        for each in backends.BACKENDS
        if each.name not in left_out | set(job.get("without", ()))
    ]
    backends.BACKENDS = tuple(kept)
    (folder / RESULT).write_text(json.dumps(_DO[job["do"]](job, folder)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
