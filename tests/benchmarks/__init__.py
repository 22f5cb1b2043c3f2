"""What it costs; see README.md."""
