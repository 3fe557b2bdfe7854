"""Run records: read, written, chosen and tabulated without torch."""
