"""A run on disk: its record, its id, and how it goes on where it stopped."""
