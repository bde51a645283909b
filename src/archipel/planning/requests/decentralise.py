"""What can be asked about buying a run from a market of providers."""

from dataclasses import dataclass

from archipel.planning.requests.option import option


@dataclass(frozen=True)
class DecentraliseRequest:
    """The same run bought from a market of providers and from one connected cluster."""

    params: str = option("8B", "parameters of the model")
    active_params: str = option("", "parameters used per token, for a mixture of experts")
    tokens: str = option("", "training tokens; default: 20 per active parameter")
    budget: str = option("", "money for the market's run, instead of --tokens")
    accelerator: str = option("h100", "kind of accelerator on offer")
    sites: str = option("16", "how many sites work together")
    per_site: str = option("8", "accelerators at one site")
    method: str = option(
        "diloco", "data-parallel, diloco, streaming-diloco, sparseloco or rl-rollouts"
    )
    bandwidth: str = option(
        "datacentre", "upload of a site: home, office, datacentre, or such as 60 Mbit/s"
    )
    download: str = option("", "download of a site; default: as its upload")
    steps_per_sync: str = option("", "steps between exchanges; default: the method's published")
    bits: str = option("", "bits per parameter a site sends; default: the method's published")
    staleness: str = option("", "rl-rollouts: versions a rollout may lag (kappa = S - 1)")
    batch: str = option("", "tokens per step; default: DeepSeek's law of the optimal batch")
    mfu: str = option("", "model FLOP utilisation within a site; default: published runs")
    price: str = option("", "price paid per accelerator-hour; default: cleared from the market")
    supply: str = option("", "accelerators on offer, to clear the market from")
    central_price: str = option("", "price per accelerator-hour of one connected cluster")
    churn: str = option("", "how often a site leaves: 0.2/day, or a mean stay such as 5 days")
    verification: str = option("", "share of delivered work that is checked, such as 10 percent")
    subsidy: str = option("0 percent", "share of providers' income that the buyer does not pay")
