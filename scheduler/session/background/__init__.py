"""Workflows without the process that submitted them: a background process for each home."""
