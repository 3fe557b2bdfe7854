import os

# Before JAX starts: two devices for test_sharding, and quick compilation of what runs once.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
