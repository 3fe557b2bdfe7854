"""Finished runs on disk, and as one table; read without torch."""
