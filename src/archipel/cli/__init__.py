"""One file per command; the only room that reads the environment, flags and settings files."""

import signal
import sys

_PROGRAMS = ("-m", "archipel")
"""What the first argument is called while the program itself is being loaded, as a module or a script."""

if sys.argv[0].rpartition("/")[2] in _PROGRAMS and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run` hears it: no traceback of an import
