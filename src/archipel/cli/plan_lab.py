"""`archipel plan lab`: what a lab of N accelerators costs."""

from archipel.cli.questions import question_command

command = question_command(
    "lab",
    """What a lab of N accelerators costs to build, to run, and per useful FLOP.

    Bought: accelerators, servers, network, storage, hall, power supply, cooling, buildings, software,
    staff. Rented: the market's price for the same hours. Power, energy and CO2 by grid; failures and
    goodput; depreciation.

    \b
    Examples:
      archipel plan lab
      archipel plan lab --accelerators 1024 --kind h200 --country fra
      archipel plan lab --kind a100-80,h100,b200 --plot lab.png
      archipel plan lab --explain power.average
    """,
)
