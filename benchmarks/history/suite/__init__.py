"""What asv times at every commit: what a user waits for. `make history` compares this commit with main."""
