"""An MSO that lives for a moment: deploys the same models over and over in short lives, each of them ended by kill -9.

    deployer.py STATE_DIR IMAGES MODELS LIVES SEED

Each life is a fork, so that it begins at once; a life is not told that it will be killed.
"""

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from mso.backplane import BackplaneError
from mso.backplane.images import LocalImages
from mso.backplane.local import LocalBackplane
from tests.backplane.conftest import a_model


async def live(state: Path, images: LocalImages, models: int) -> None:
    async with LocalBackplane(state, images) as backplane:
        watching = asyncio.create_task(watch(backplane))
        names = [f"model-{number}" for number in range(models)]
        random.shuffle(names)
        await asyncio.gather(*(backplane.deploy(a_model(name)) for name in names))
        await watching


async def watch(backplane: LocalBackplane) -> None:
    async for _ in backplane.watch():
        pass


def main(state: Path, images: LocalImages, models: int, lives: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(lives):
        child = os.fork()
        if child == 0:
            try:
                random.seed()
                asyncio.run(live(state, images, models))
            except BackplaneError as error:
                sys.stderr.write(f"{error}\n")
            os._exit(1)  # a life ends by kill -9 only
        time.sleep(chance.uniform(0.005, 0.12))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit("a life ended before it was killed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), LocalImages.load(Path(sys.argv[2])), *map(int, sys.argv[3:]))
