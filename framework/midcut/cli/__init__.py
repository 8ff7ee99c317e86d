"""The command `midcut`: `main` is its entry point, `VERBS` what it does."""

from midcut.cli.main import VERBS, main

__all__ = ["VERBS", "main"]
