"""A trained network as files that other tools read, each checked against the checkpoint."""
