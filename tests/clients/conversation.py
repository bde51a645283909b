"""A whole conversation of a public client with a door: run in the client's own environment, prints one JSON object.

`python conversation.py URL MODEL`, with the key in TINKER_API_KEY. Any version of the client; what a version has no
words for is left out and named under `left_out`.
"""

import json
import sys
import warnings

import numpy as np
import tinker
import torch
from tinker import types

warnings.simplefilter("ignore")
URL, MODEL = sys.argv[1:3]
told: dict[str, object] = {"left_out": []}


def datum(tokens: list[int], prompt: int) -> types.Datum:
    """Learn what follows the first `prompt` tokens."""
    targets = tokens[1:]
    weights = [0.0] * (prompt - 1) + [1.0] * (len(targets) - prompt + 1)
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": types.TensorData.from_torch(torch.tensor(targets)),
            "weights": types.TensorData.from_torch(torch.tensor(weights)),
        },
    )


def nll(out, data) -> float:
    """Mean over the weights."""
    total = weight = 0.0
    for each, one in zip(out.loss_fn_outputs, data, strict=True):
        weights = np.array(one.loss_fn_inputs["weights"].data)
        total -= float(np.dot(np.array(each["logprobs"].data), weights))
        weight += float(weights.sum())
    return total / weight


service = tinker.ServiceClient(base_url=URL)
told["models"] = [each.model_name for each in service.get_server_capabilities().supported_models]
training = service.create_lora_training_client(base_model=MODEL, rank=8, seed=3)
info = training.get_info()
told["info"] = {"lora_rank": info.lora_rank, "model_name": info.model_data.model_name}
tokenizer = training.get_tokenizer()


def encoded(text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


prompt = encoded(
    "<|im_start|>user\nWhich number goes with red dog?<|im_end|>\n<|im_start|>assistant\n"
)
data = [
    datum(prompt + encoded(f"\\boxed{{{digit}}}<|im_end|>"), len(prompt)) for digit in (3, 3, 3)
]

# Supervised.
curve = []
told["before"] = nll(training.forward(data, "cross_entropy").result(), data)
for _ in range(6):
    scored = training.forward_backward(data, "cross_entropy")
    stepped = training.optim_step(types.AdamParams(learning_rate=3e-3))
    curve.append(nll(scored.result(), data))
    told["step_metrics"] = sorted((stepped.result().metrics or {}).keys())
told["curve"] = curve
told["metrics"] = sorted(scored.result().metrics)

# Sampling, from a snapshot and from a named checkpoint.
params = types.SamplingParams(max_tokens=8, temperature=1.0, stop=["<|im_end|>"], seed=5)
sampler = training.save_weights_and_get_sampling_client()
answers = sampler.sample(types.ModelInput.from_ints(prompt), 4, params).result().sequences
told["said"] = [tokenizer.decode(list(each.tokens)) for each in answers]
told["stops"] = [str(each.stop_reason) for each in answers]
again = sampler.sample(types.ModelInput.from_ints(prompt), 4, params).result().sequences
told["same_seed_same"] = [
    list(a.tokens) == list(b.tokens) for a, b in zip(answers, again, strict=True)
]
first = answers[0]
joined = prompt + list(first.tokens)
scored = sampler.compute_logprobs(types.ModelInput.from_ints(joined)).result()
told["first_prompt_logprob"] = scored[0]
told["sampled_against_scored"] = float(
    np.abs(np.array(first.logprobs) - np.array(scored[len(prompt) :], dtype=np.float64)).max()
)
likeliest = sampler.sample(
    types.ModelInput.from_ints(joined),
    1,
    params,
    include_prompt_logprobs=True,
    topk_prompt_logprobs=3,
).result()
top = likeliest.topk_prompt_logprobs
told["topk"] = [] if top is None else [None if each is None else len(each) for each in top]

# Every loss that takes behaviour log-probabilities, on samples of the door's own.
told["losses"] = {}
for name in ("importance_sampling", "ppo", "cispo", "dro", "gspo"):
    if name not in str(types.LossFnType):
        told["left_out"].append(name)
        continue
    learnt = []
    for number, each in enumerate(answers):
        tokens = prompt + list(each.tokens)
        before, count = [0.0] * (len(prompt) - 1), len(each.tokens)
        advantage = 1.0 if number % 2 else -1.0
        learnt.append(
            types.Datum(
                model_input=types.ModelInput.from_ints(tokens[:-1]),
                loss_fn_inputs={
                    "target_tokens": types.TensorData.from_torch(torch.tensor(tokens[1:])),
                    "logprobs": types.TensorData.from_torch(
                        torch.tensor(before + list(each.logprobs))
                    ),
                    "advantages": types.TensorData.from_torch(
                        torch.tensor(before + [advantage] * count)
                    ),
                },
            )
        )
    scored = training.forward_backward(learnt, name)
    training.optim_step(types.AdamParams(learning_rate=1e-5)).result()
    told["losses"][name] = scored.result().metrics["loss:sum"]


# A loss of the client's own.
def custom(data, logprobs_list):
    loss = -sum(each.sum() for each in logprobs_list)
    return loss, {"custom": float(loss.detach())}


told["custom"] = training.forward_backward_custom(data, custom).result().metrics
training.optim_step(types.AdamParams(learning_rate=1e-5)).result()

# Checkpoints.
state = training.save_state("kept").result().path
weights = training.save_weights_for_sampler("final").result().path
told["paths"] = [state, weights]
held = [
    np.array(each["logprobs"].data)
    for each in training.forward(data, "cross_entropy").result().loss_fn_outputs
]
restored = service.create_training_client_from_state_with_optimizer(state)
back = [
    np.array(each["logprobs"].data)
    for each in restored.forward(data, "cross_entropy").result().loss_fn_outputs
]
told["restored_equal"] = all(np.array_equal(a, b) for a, b in zip(held, back, strict=True))
for client in (training, restored):
    client.forward_backward(data, "cross_entropy").result()
    client.optim_step(types.AdamParams(learning_rate=1e-3)).result()
ends = [
    [
        np.array(each["logprobs"].data)
        for each in client.forward(data, "cross_entropy").result().loss_fn_outputs
    ]
    for client in (training, restored)
]
told["step_after_restoring_equal"] = all(np.array_equal(a, b) for a, b in zip(*ends, strict=True))
training.load_state(state).result()
named = service.create_sampling_client(model_path=weights)
told["named_sampler_said"] = len(
    named.sample(types.ModelInput.from_ints(prompt), 2, params).result().sequences
)
base = service.create_sampling_client(base_model=MODEL)
told["base_sampler_said"] = len(
    base.sample(types.ModelInput.from_ints(prompt), 2, params).result().sequences
)

rest = service.create_rest_client()
run = weights.removeprefix("tinker://").split("/")[0]
told["listed"] = sorted(
    each.tinker_path for each in rest.list_checkpoints(run).result().checkpoints
)
told["mine"] = len(rest.list_user_checkpoints().result().checkpoints)
told["runs"] = len(rest.list_training_runs().result().training_runs)
told["weights_info"] = rest.get_weights_info_by_tinker_path(weights).result().base_model
rest.publish_checkpoint_from_tinker_path(weights).result()
rest.unpublish_checkpoint_from_tinker_path(weights).result()
if hasattr(rest, "get_checkpoint_archive_url_from_tinker_path"):
    told["archive"] = rest.get_checkpoint_archive_url_from_tinker_path(weights).result().url
else:
    told["left_out"].append("archive")
rest.delete_checkpoint_from_tinker_path(state).result()
told["after_deleting"] = sorted(
    each.tinker_path for each in rest.list_checkpoints(run).result().checkpoints
)
print(json.dumps(told))
