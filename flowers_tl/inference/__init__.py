"""Using what was trained: a checkpoint read back, asked, measured, explained and handed on."""
