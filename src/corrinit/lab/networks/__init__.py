"""The networks that runs train, by name."""
