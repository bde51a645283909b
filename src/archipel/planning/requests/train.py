"""What can be asked about a training run."""

from dataclasses import dataclass

from archipel.planning.requests.option import option

DEFAULT_BUDGET = "50k USD"
"""What is spent when neither a budget nor a size nor a quality is given."""


@dataclass(frozen=True)
class TrainRequest:
    """Parameters and tokens for a budget, or what a given size costs."""

    budget: str = option(
        "",
        "money, FLOP or time on the fleet: 50k USD, 1e24 FLOP, 30 days; "
        f"default: {DEFAULT_BUDGET} unless a size or a quality is given",
    )
    params: str = option("", "parameters, e.g. 8B; of a mixture of experts, all of them")
    tokens: str = option("", "training tokens, e.g. 15T")
    active_params: str = option("", "parameters used per token, of a mixture of experts")
    loss: str = option("", "the loss to reach, nat per token, at least compute")
    like: str = option("", "reach the quality of the compute-optimal model of this size, e.g. 13B")
    fit: str = option(
        "besiroglu", "published scaling-law fit, or hoffmann, hoffmann-tex, muennighoff, sardana"
    )
    inference_tokens: str = option(
        "", "tokens it will serve in its life: pay training and use together"
    )
    unique_tokens: str = option("", "distinct tokens there are: beyond them, data repeat")
    stage: str = option("pretrain", "pretrain, mid, sft, rl or all")
    shares: str = option(
        "", "accelerator time of the stages, as weights: pretrain=70,mid=12,sft=3,rl=15"
    )
    rl_hours: str = option("", "accelerator-hours of reinforcement learning")
    rollouts: str = option("", "rollouts of reinforcement learning, all steps together")
    rollout_tokens: str = option("", "mean generated tokens of one rollout")
    rl_recipe: str = option("scalerl", "published compute curve of reinforcement learning")
    accelerator: str = option("h100", "kind of accelerator")
    count: str = option("", "how many accelerators; default: whole servers for about a month")
    mfu: str = option(
        "", "model FLOP utilisation of the bf16 peak; default: fitted to documented runs"
    )
    attention: bool = option(
        False,
        "count attention's arithmetic too, in compute and utilisation, as PaLM and Llama 3 do",
    )
    goodput: str = option(
        "", "share of time that does kept work; default: from failures and restarts"
    )
    price: str = option("", "rent, e.g. 2 USD/h; default: the market's")
    precision: str = option("bf16", "bf16 or fp8")
    sequence: str = option("8192", "tokens of one training sequence")
    micro_batch: str = option("1", "sequences an accelerator holds at a time")
    zero: str = option(
        "3", "what is sharded: 0 nothing, 1 optimiser, 2 and gradients, 3 all (FSDP)"
    )
    tensor_parallel: str = option("", "accelerators that share each layer; default: as few as fit")
    recompute: str = option(
        "", "activations computed again: none, selective or full; default: what fits"
    )
    draw: str = option(
        "",
        "measured draw of one accelerator with its part of the server, e.g. 1 kW; default: nameplate × share",
    )
    country: str = option("usa", "country of the grid: price and carbon of electricity")
