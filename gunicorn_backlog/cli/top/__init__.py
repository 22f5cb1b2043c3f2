"""The command ``top``: a live view in the terminal."""
