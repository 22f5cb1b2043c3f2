"""The command ``check``: what can be measured here."""
