"""The networks, input transformations and votes that config.yaml lists."""

from advkit.classify import classify
from advkit.run import defense_main

if __name__ == "__main__":
    defense_main(classify, __file__)
