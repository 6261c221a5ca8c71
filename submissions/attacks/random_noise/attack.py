"""Random noise: every value of every pixel goes up or down by epsilon, the most that the ball allows."""

import numpy as np

from advkit.images import round_pixels
from advkit.run import AttackJob, attack_main


def random_noise(job: AttackJob) -> None:
    """Add random signs times epsilon, from one random stream an image."""
    for batch in job.batches():
        shape = batch.pixels.shape[1:]
        signs = np.stack([job.generator(name).choice([-1, 1], shape) for name in batch.names])
        job.save(batch, round_pixels(batch.pixels + job.epsilon * signs))


if __name__ == "__main__":
    attack_main(random_noise, __file__)
