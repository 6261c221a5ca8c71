"""The training of the kit's own networks: data, recipes, and the measurements beside them."""
