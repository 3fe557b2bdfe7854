import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # quick compilation of what runs once
