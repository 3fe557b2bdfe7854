"""What `pytest` in the checkout leaves to `python -m tests.frameworks`, which has the packages for it."""

collect_ignore_glob = ["tests/frameworks/*", "src/corrinit/jax.py", "src/corrinit/keras.py"]
