"""`archipel plan meek`: will the frontier's advantage last?"""

from archipel.cli.questions import question_command

command = question_command(
    "meek",
    """Will the frontier's advantage last, on which measure, and when does scale stop paying?

    A fixed training budget against a frontier whose spending grows: the gap in loss, when it is widest and
    when it has closed (as published, and with refitted laws), with progress that depends on scale; benchmark
    points, text needed to tell the two apart, measures without a ceiling; running beside training; the next
    doubling and where it stops paying; better methods against compute.

    \b
    Examples:
      archipel plan meek
      archipel plan meek --law meek --c0 1e20
      archipel plan meek --budget 1M --frontier 500M --years 10
      archipel plan meek --value "50M USD" --plot meek.png
      archipel plan meek --explain meek.peak_time
    """,
)
