"""From a configuration to a record: the loop, the sweep, and what a run starts from."""
