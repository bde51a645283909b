"""What a public client is told when it asks for what cannot be: prints {case: [class, sentence]} as JSON.

`python faults.py URL MODEL OTHERS_PATH`, with the key in TINKER_API_KEY.
"""

import json
import sys

import tinker
import torch
from tinker import types

URL, MODEL, OTHERS = sys.argv[1:4]
told: dict[str, list[str]] = {}


def case(name: str, ask) -> None:
    try:
        found = ask()
        found = found.result() if hasattr(found, "result") else found
    except Exception as error:  # noqa: BLE001  every class is what is looked at
        told[name] = [type(error).__name__, str(error)]
    else:
        told[name] = ["nothing", repr(found)[:200]]


def datum(tokens, targets, weights) -> types.Datum:
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens),
        loss_fn_inputs={
            "target_tokens": types.TensorData.from_torch(torch.tensor(targets)),
            "weights": types.TensorData.from_torch(torch.tensor(weights)),
        },
    )


service = tinker.ServiceClient(base_url=URL)
case("unknown model", lambda: service.create_lora_training_client(base_model="nobody/nothing"))
case("absurd rank", lambda: service.create_lora_training_client(base_model=MODEL, rank=100_000))
case("others' checkpoint", lambda: service.create_training_client_from_state(OTHERS))
case(
    "others' weights",
    lambda: service.create_sampling_client(
        model_path=OTHERS.replace("/weights/", "/sampler_weights/")
    ).sample(types.ModelInput.from_ints([1, 2]), 1, types.SamplingParams(max_tokens=2)),
)
case(
    "a path that climbs",
    lambda: service.create_training_client_from_state("tinker://../../etc/weights/passwd"),
)


def asking(*data):
    def ask():
        client = service.create_lora_training_client(base_model=MODEL, rank=4)
        return client.forward_backward(list(data), "cross_entropy")

    return ask


long = [5] * 5000
case("too long", asking(datum(long, long, [1.0] * len(long))))
case("NaN weights", asking(datum([1, 2, 3], [2, 3, 4], [1.0, float("nan"), 1.0])))
case("shapes off", asking(datum([1, 2, 3], [2, 3, 4, 5], [1.0, 1.0, 1.0, 1.0])))
case("token outside", asking(datum([1, 2, 3], [2, 3, 10**6], [1.0, 1.0, 1.0])))
case("input outside", asking(datum([1, 2, 10**6], [2, 3, 4], [1.0, 1.0, 1.0])))
case("no data", asking())


def invented():
    client = service.create_lora_training_client(base_model=MODEL, rank=4)
    one = types.Datum(
        model_input=types.ModelInput.from_ints([1, 2, 3]),
        loss_fn_inputs={
            "target_tokens": types.TensorData.from_torch(torch.tensor([2, 3, 4])),
            "logprobs": types.TensorData.from_torch(torch.tensor([-1.0, -1.0, -1.0])),
            "advantages": types.TensorData.from_torch(torch.tensor([1.0, 1.0, 1.0])),
        },
    )
    return client.forward_backward([one], "importance_sampling")


case("log-probabilities of nothing sampled here", invented)


def absurd():
    client = service.create_lora_training_client(base_model=MODEL, rank=4)
    client.forward_backward(
        [datum([1, 2, 3], [2, 3, 4], [1.0, 1.0, 1.0])], "cross_entropy"
    ).result()
    return client.optim_step(types.AdamParams(learning_rate=-1.0, beta1=1.5))


case("absurd constants", absurd)
sampler = service.create_sampling_client(base_model=MODEL)
one = types.ModelInput.from_ints([1, 2, 3])
case(
    "prompt too long",
    lambda: sampler.sample(types.ModelInput.from_ints(long), 1, types.SamplingParams(max_tokens=2)),
)
case(
    "negative temperature",
    lambda: sampler.sample(one, 1, types.SamplingParams(max_tokens=2, temperature=-1.0)),
)
case("no samples", lambda: sampler.sample(one, 0, types.SamplingParams(max_tokens=2)))
case("too many samples", lambda: sampler.sample(one, 10**6, types.SamplingParams(max_tokens=2)))
print(json.dumps(told))
