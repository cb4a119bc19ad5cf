"""DistributedSampler: PyTorch's order for given numbers of processes; and attention's accepted choices."""

import pytest

from minitorch.nn.attention import SDPBackend, sdpa_kernel
from minitorch.utils.data import DataLoader, DistributedSampler


@pytest.mark.parametrize(
    "options", [{}, {"shuffle": False}, {"seed": 3, "drop_last": True}, {"shuffle": False, "drop_last": True}]
)
@pytest.mark.parametrize("size", [1, 2, 7, 12])
def test_pytorchs_order(size, options):
    torch = pytest.importorskip("torch")
    from torch.utils.data import DistributedSampler as Theirs

    for replicas in (1, 3, 4):
        for rank in range(replicas):
            ours, theirs = (c(range(size), replicas, rank, **options) for c in (DistributedSampler, Theirs))
            for epoch in (0, 2):
                ours.set_epoch(epoch)
                theirs.set_epoch(epoch)
                assert list(ours) == list(theirs) and len(ours) == len(theirs)
    assert torch


def test_every_sample_is_somebodys():
    parts = [list(DistributedSampler(range(10), 3, rank)) for rank in range(3)]
    assert {i for part in parts for i in part} == set(range(10)) and {len(part) for part in parts} == {4}
    batches = DataLoader(range(10), batch_size=2, sampler=DistributedSampler(range(10), 2, 1, shuffle=False))
    assert [b.tolist() for b in batches] == [[1, 3], [5, 7], [9]]
    with pytest.raises(RuntimeError, match="give num_replicas and rank"):
        DistributedSampler(range(3))
    with pytest.raises(ValueError, match="Invalid rank 2"):
        DistributedSampler(range(3), 2, 2)


def test_sdpa_kernel_is_accepted():
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]), sdpa_kernel(SDPBackend.MATH):
        pass
    with pytest.raises(TypeError, match="SDPBackend"), sdpa_kernel("math"):
        pass
