"""A run from its plain config to its record."""
