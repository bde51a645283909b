"""One file per command; the only room that reads the environment, flags and settings files."""

import _signal  # type: ignore[import-not-found]  # built in; to import `signal` takes long enough for a Ctrl-C
import sys

_PROGRAMS = ("-m", "archipel")
"""What the first argument is called while the program itself is being loaded, as a module or a script."""

if sys.argv[0].rpartition("/")[2] in _PROGRAMS and (
    _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
):
    _signal.signal(
        _signal.SIGINT, _signal.SIG_DFL
    )  # until `run` hears it: no traceback of an import
