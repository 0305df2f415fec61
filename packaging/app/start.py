"""What the executable `qwq` of the app runs: the command line, in an environment that is the user's own again."""

import sys

from search_paths import restore_search_paths

if __name__ == "__main__":
    restore_search_paths()
    from qwq_local.cli import main

    sys.exit(main())
