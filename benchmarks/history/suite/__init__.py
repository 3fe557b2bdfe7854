"""What asv times at every commit: what a user waits for. `make history` compares this commit with main.

asv, since it times two commits on one machine, one after the other; CodSpeed would need an account.
"""
