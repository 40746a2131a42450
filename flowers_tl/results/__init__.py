"""What a run leaves behind, and what several runs say together."""
