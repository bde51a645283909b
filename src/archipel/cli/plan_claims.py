"""`archipel plan claims`: public claims about such labs, computed."""

from archipel.cli.questions import question_command

command = question_command(
    "claims",
    """Public claims about labs of this kind, each computed under every reading we could think of.

    A reading holds if the claim is true in two thirds of the sampled worlds, fails if it is true in less
    than one third, and is undecided between. Numbers that a source left out are marked as assumed.

    Your own claim is a few lines in a table (--table FILE):

    \b
      [claims.my-claim]
      says = "renting 1,000 H100 for a year costs 10 million dollars"
      claimed = {value = 10, unit = "MUSD", kind = "published", source = "a newspaper, 2026"}
      compare = "about"            (range, at least, at most, more than, less than)
      readings.market = "1000 * claim.one_machine * rental.h100 * lab.year * claim.one_year"
      words.market = "at today's market price"

    \b
    Examples:
      archipel plan claims --brief
      archipel plan claims --claim lab-100m
      archipel plan claims --claim server-5kw,gpus-over-half --plot claims.png
      archipel plan claims --explain lab-100m.h100-lab
    """,
)
