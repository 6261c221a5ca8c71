"""The referee: pairs attacks with defenses, distrusts both, scores and publishes."""

__version__ = "0.1.0"
