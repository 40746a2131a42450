"""A search for good settings by a validation score."""
