"""Tools that measure this project, and what they measured; see README.md."""
