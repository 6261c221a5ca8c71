"""The attack that config.yaml describes, made on the networks that it names."""

from advkit.perturb import perturb
from advkit.run import attack_main

if __name__ == "__main__":
    attack_main(perturb, __file__)
