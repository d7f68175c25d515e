"""`python -m lorascope`."""

from .cli import main

main()
