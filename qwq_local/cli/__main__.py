"""`python -m qwq_local.cli` is `qwq`."""

from qwq_local.cli import main

main()
