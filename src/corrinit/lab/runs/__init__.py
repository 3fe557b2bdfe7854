"""Finished and unfinished runs on disk, read without torch."""
