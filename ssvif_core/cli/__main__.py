"""`python -m ssvif_core.cli` is `ssvif`."""

from ssvif_core.cli import main

main()
