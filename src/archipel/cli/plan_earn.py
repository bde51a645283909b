"""`archipel plan earn`: what a machine would earn."""

from archipel.cli.questions import question_command

command = question_command(
    "earn",
    """What a machine of yours would earn by sampling for runs of this market, after electricity.

    Its default ask (electricity and wear over its rate) stands against what the same tokens cost from a rented
    accelerator, which nobody needs to overpay, and against renting the machine out by the hour. Demand is not promised.

    \b
    Examples:
      archipel plan earn --hardware rtx4090 --country deu
      archipel plan earn --hardware m3-ultra --hours-a-day 10 --electricity "0.12 USD/kWh"
      archipel plan earn --hardware rtx3090 --demand "20 percent" --price "0.3 USD/Mtoken"
      archipel plan earn --explain earn.ask
    """,
)
