"""Run by test_parallel.py, with a folder of checkpoints: four processes, in which each family's velocity of two and of
four together must be that of one, and the network of diffusers as it is.

A process of its own that forks, so that torch and diffusers are loaded once for the four.
"""

from __future__ import annotations

import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from hibari import catalog
from hibari.models.parallel import Tokens
from hibari.models.protocol import SplitsTokens

CPU = torch.device("cpu")


def inputs(model: Any, family: str, frames: int, height: int, width: int) -> tuple[Any, ...]:
    """Two rows at two noise levels; of LTX-Video with a first frame that is given."""
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(2, model.spec.latent_channels, frames, height, width, generator=generator)
    sigma = torch.tensor([[0.9], [0.4]]).repeat(1, frames)
    if family == "ltx_video":
        sigma[:, 0] = 0
    return latent, sigma, model.encode_text(["a red balloon", "sea"]), torch.zeros(2, dtype=torch.int64)


# Latent frames, height and width: 15, 20 and 36 tokens, which four processes cannot share evenly but in one case.
SIZES = {"ltx_video": (3, 5, 1), "cogvideox": (5, 4, 4), "mochi": (3, 6, 8)}


@torch.inference_mode()
def work(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo",
        store=FileStore(str(folder / "meeting"), 4),
        rank=rank,
        world_size=4,
        timeout=timedelta(minutes=5),
    )
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    for family, size in SIZES.items():
        model: Any = catalog.load(str(folder / family), device=CPU)
        assert isinstance(cast("object", model), SplitsTokens)
        given = inputs(model, family, *size)
        alone = model.velocity(*given)
        assert alone.std() > 0.01
        for group in (pairs[rank // 2], dist.group.WORLD):
            model.split(Tokens(cast("dist.ProcessGroup", group)))
            together = model.velocity(*given)
            torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-5, msg=f"{family} differs")
            model.split(Tokens())
    dist.barrier()
    dist.destroy_process_group()


def main(folder: Path) -> int:
    torch.set_num_threads(1)
    children: list[int] = []
    for rank in range(4):
        child = os.fork()
        if child == 0:
            try:
                work(rank, folder)
            except Exception:  # noqa: BLE001 - a forked process must not go on as its parent
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    return int(any(os.waitpid(child, 0)[1] for child in children))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
