"""An agent with no capability and none to be gained, as containers and units start it."""

import os
import sys

PROGRAM = (sys.executable, "-m", "archipel.cli.archipel")

if __name__ == "__main__":
    given_up = ("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")
    os.execvp("setpriv", ("setpriv", *given_up, *PROGRAM, *sys.argv[1:]))
