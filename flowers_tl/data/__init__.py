"""Images in: sets and their splits, read and kept; randomness that depends on (seed, epoch, image) alone."""
