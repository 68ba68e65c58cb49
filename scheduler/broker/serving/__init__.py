"""The broker's process: its settings, its API's server, and what lets workflows run."""
