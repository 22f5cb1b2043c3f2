"""Push points to the Agent; the only folder that imports ``datadog``."""
