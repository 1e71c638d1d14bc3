"""`python -m ssvif_core.cli` runs the command `ssvif`."""

from ssvif_core.cli import main

main()
