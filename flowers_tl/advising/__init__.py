"""Advice by experiment: which strategy suits these images, found by a race that stops when the answer is decided."""
