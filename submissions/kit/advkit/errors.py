"""The one exception of the kit."""


class KitError(Exception):
    """A fault of the input or of the configuration, in one line that says what to change."""
