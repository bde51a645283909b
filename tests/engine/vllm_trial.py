"""vLLM run for real, by the interpreter of an environment that has it: `python -m engine.vllm_trial FOLDER DEVICES`.

What it finds goes to standard output as one JSON object; `test_engine_vllm` judges it. One process, because
starting vLLM takes half a minute of processor time.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from archipel.bench.device_checks import SECTION
from archipel.engine.protocol import NotLoaded, WrongWeights
from archipel.engine.vllm_engine import VllmEngine
from archipel.engine.vllm_start import VllmLimits
from archipel.model.adapter import Adapter, adapter_shapes
from archipel.model.directory import write_model
from archipel.model.tokenizer import character_tokenizer
from archipel.records.cuts import Cut
from archipel.records.recipe_model import AdapterSection
from archipel.records.requests import InvalidRequest
from archipel.records.spread import Spread
from archipel.training.scorer import Scorer, Scoring
from archipel.training.sharding import Site
from archipel.work.agreement import compared, reference
from archipel.work.seats import WithAdapter
from engine.engine_models import decoder_of, lively_state, ragged_requests, small_config

FORMS = (SECTION.form, AdapterSection(rank=12, alpha=24.0, rank_stabilised=True).form)


def figures(found) -> dict:
    return {"tokens": found.num_tokens, "mean": found.mean, "largest": found.largest}


def refused(act, *errors) -> str:
    try:
        act()
    except errors as error:
        return f"{type(error).__name__}: {error}"
    return ""


def adapter_of(config, form, seed: int) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    return Adapter(
        form,
        {
            name: (torch.randn(shape, generator=generator) * 0.1).bfloat16()
            for name, shape in sorted(adapter_shapes(config, form).items())
        },
    )


def weights(engine, config, requests) -> dict:
    """Each version in the place of the one before, by temperature and cut."""
    found, seconds = {}, []
    for version in (3, 4, 5):
        state = lively_state(config, seed=version)
        began = time.monotonic()
        engine.load(state)
        seconds.append(time.monotonic() - began)
        plain = [replace(each, temperature=1.0) for each in requests]
        found[f"version {version}"] = figures(
            compared(engine, reference(config, state, 1.0), plain)
        )
    state = lively_state(config, seed=5)
    cooled = [replace(each, temperature=0.7) for each in requests]
    found["temperature 0.7"] = figures(compared(engine, reference(config, state, 0.7), cooled))
    greedy = [replace(each, temperature=0.0) for each in requests]
    found["greedy"] = figures(compared(engine, reference(config, state, 1.0), greedy))
    for cut in (Cut(top_k=5), Cut(top_p=0.8), Cut(min_p=0.1)):
        scorer = Scorer(decoder_of(config, state), 1.0, Site(), Scoring(cut=cut))
        some = [replace(each, temperature=1.0, cut=cut) for each in requests]
        found[f"cut {cut.bounds[0]}"] = figures(compared(engine, scorer, some))
    return {"agreement": found, "load_s": seconds}


def adapters(engine, config, requests) -> dict:
    """Of two runs beside each other, then a second version of one."""
    state = lively_state(config, seed=3)
    engine.load(state)
    found = {}
    for version, (name, form) in enumerate(zip("aba", (*FORMS, FORMS[0]), strict=True)):
        adapter = adapter_of(config, form, version)
        engine.adapt(name, adapter)
        scorer = reference(config, state, 1.0, adapter)
        found[f"{name}, {version}"] = figures(compared(WithAdapter(engine, name), scorer, requests))
    found["none"] = figures(compared(engine, reference(config, state, 1.0), requests))
    mixed = [replace(each, adapter=name) for each, name in zip(requests, "abab", strict=False)]
    together = engine.generate(mixed)
    alone = [engine.generate([each])[0] for each in mixed]
    same = sum(
        one.tokens == other.tokens
        for first, second in zip(together, alone, strict=True)
        for one, other in zip(first, second, strict=True)
    )
    return {"adapters": found, "mixed_same": same / sum(map(len, alone))}


def asked() -> tuple:
    """A small architecture, and requests of it."""
    requests = [
        replace(each, temperature=1.0, num_rollouts=2, max_new_tokens=12)
        for each in ragged_requests(80, (3, 9, 17, 40))
    ]
    return small_config("qwen3", head_dim=64, vocab_size=80), requests


def main(folder: Path, devices: int) -> None:
    config, requests = asked()
    write_model(folder / "model", lively_state(config), config, character_tokenizer())
    began = time.monotonic()
    limits = VllmLimits(cache_bytes=2**28, max_rank=12, spread=Spread(devices=devices))
    (folder / "model/model.safetensors").unlink()  # as at a node
    engine = VllmEngine(folder / "model", dtype="float32", limits=limits)
    said = {"before": refused(lambda: engine.generate(requests), NotLoaded)}
    engine.load(lively_state(config))
    said["start_s"] = time.monotonic() - began
    said |= weights(engine, config, requests)
    first, again = engine.generate(requests), engine.generate(requests)
    other = engine.generate([replace(each, seed=each.seed ^ 1) for each in requests])
    said["repeats"], said["seeds_tell"] = first == again, first != other
    stop = first[0][0].tokens[2]
    stopped = engine.generate([replace(requests[0], stop_tokens=(stop,), num_rollouts=1)])[0][0]
    said["stopped"] = [list(stopped.tokens), stopped.finished, list(first[0][0].tokens), stop]
    late = replace(requests[0], first_rollout=1, num_rollouts=1)
    said["parts"] = engine.generate([late])[0][0].tokens == first[0][1].tokens
    said |= adapters(engine, config, requests)
    one = requests[0]
    said["refused"] = [
        refused(lambda each=each: engine.generate([each]), InvalidRequest)
        for each in (
            replace(one, prompt=(80,)),
            replace(one, max_new_tokens=600),
            replace(one, cut=Cut(top_k=3, top_p=0.5)),
            replace(one, adapter="c"),
        )
    ] + [refused(lambda: engine.load({"lm_head.weight": torch.zeros(1)}), WrongWeights)]
    engine.close()
    print(json.dumps(said), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
