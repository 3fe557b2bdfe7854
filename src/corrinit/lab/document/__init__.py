"""Sections, tables and figures, and how they become HTML, Markdown and terminal text."""
