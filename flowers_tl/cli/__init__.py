"""What the commands share: composing, options, error sentences and exit codes."""
