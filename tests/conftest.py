import pytest
import torch
from hypothesis import settings

settings.register_profile("corrinit", deadline=None)
settings.load_profile("corrinit")


@pytest.fixture
def single_process_mesh(tmp_path):
    from torch.distributed.device_mesh import init_device_mesh

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()
