"""The network that config.yaml names, behind the input transformations that it lists."""

from advkit.classify import classify
from advkit.run import defense_main

if __name__ == "__main__":
    defense_main(classify, __file__)
