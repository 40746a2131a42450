"""Pictures in: official splits, drawn flowers, transforms, and randomness that depends on (seed, epoch, picture) alone."""
