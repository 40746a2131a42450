"""Using a trained network: load its checkpoint, predict, evaluate, and explain predictions."""
