"""`archipel plan decentralise`: the same run bought from a market of providers."""

from archipel.cli.questions import question_command

command = question_command(
    "decentralise",
    """The same run bought from a market of providers, against one connected cluster.

    What the market asks and clears at, extra compute for many sites, waiting for the network, work lost
    to churn, checking strangers; and the price ratio below which the market wins, subsidies stripped out.

    \b
    Examples:
      archipel plan decentralise
      archipel plan decentralise --params 72B --tokens 1.1T --accelerator b200 --sites 20 --method sparseloco
      archipel plan decentralise --budget '50k USD' --bandwidth home --accelerator rtx4090 --per-site 1
      archipel plan decentralise --params 30B --deadline '60 days' --country usa=0.5,fra=0.5
      archipel plan decentralise --method rl-rollouts --staleness 4 --plot market.png
      archipel plan decentralise --explain break_even
    """,
)
