"""No attack: the images as they are, byte for byte."""

import shutil

from advkit.run import AttackJob, attack_main


def noop(job: AttackJob) -> None:
    """Copy every image."""
    for path in job.image_paths:
        shutil.copyfile(path, job.output_dir / path.name)


if __name__ == "__main__":
    attack_main(noop, __file__)
