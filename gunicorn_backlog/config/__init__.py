"""User settings: options, their sources, the Agent's address, tags."""
