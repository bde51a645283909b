"""`archipel plan train`: parameters and tokens for a budget, or the cost of a given size."""

from archipel.cli.questions import question_command

command = question_command(
    "train",
    """Parameters and tokens for a budget (money, FLOP or time), or what a given size costs.

    Scaling laws under each published fit, with lifetime inference and repeated data; mixtures of experts;
    stages from pre-training to reinforcement learning; time on a fleet, failures, energy; memory, and
    which accelerators hold it.

    \b
    Examples:
      archipel plan train --budget "50k USD" --stage all
      archipel plan train --budget "1M USD" --whole
      archipel plan train --params 405B --tokens 15.6T --mfu 0.41 --count 16384
      archipel plan train --params 671B --active-params 37B --tokens 14.8T --accelerator h800 --price 2
      archipel plan train --like 13B --inference-tokens 2T --fit hoffmann-tex
      archipel plan train --budget 1e22FLOP --unique-tokens 25B --fit muennighoff
      archipel plan train --stage rl --params 8B --rl-hours 16000
      archipel plan train --explain train.params
    """,
)
