"""Workflows of a shared platform, from its users' side."""
