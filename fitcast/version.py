"""The one place that states fitcast's version."""

__version__ = "0.1.0"
