"""What can be asked about running a model on one's own hardware."""

from dataclasses import dataclass

from archipel.planning.requests.option import option


@dataclass(frozen=True)
class ServeRequest:
    """A model on one's own machine against hosted prices, alone, in a cascade, or as specialists."""

    params: str = option("", "parameters of the model; default: 8B")
    active_params: str = option("", "parameters used per token, for a mixture of experts")
    model: str = option("", "a known model instead of --params, such as llama-3-8b")
    quant: str = option("q4", "weights as bf16, q8, q6, q5, q4, mxfp4 or q2")
    hardware: str = option("rtx4090", "the machine: rtx4090, m3-ultra, h100 ...")
    accelerators: str = option("1", "how many of them share the model")
    split: str = option("", "how they share it, layers or tensor; default: by their link")
    price: str = option("", "price of one of them; default: the market's")
    context: str = option("8192", "tokens that memory must hold per stream")
    batch: str = option("1", "streams served at once")
    prompt: str = option("1000", "tokens read per request")
    answer: str = option("300", "tokens written per request")
    utilisation: str = option("8 h/day", "busy time: 8 h/day, or 30 percent")
    country: str = option("usa", "country of the household electricity price")
    electricity: str = option("", "price of electricity; default: the country's households")
    life: str = option("4 years", "years over which the machine is written off")
    hosted: str = option("", "hosted class such as open-8b, or 0.05 USD/Mtoken; default: by size")
    large: str = option("closed-flagship", "hosted class that a cascade escalates to")
    escalate: str = option("", "share of requests that need the large model")
    specialists: str = option("8", "how many specialists share the training budget")
    training_budget: str = option("1e22 FLOP", "compute to train generalist or specialists")
    domain_share: str = option("", "requests that belong to one of the specialists' fields")
    fit: str = option("besiroglu", "published fit of the loss law")
