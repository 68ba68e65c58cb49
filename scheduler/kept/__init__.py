"""Carries out what was decided: workflows on their way, from submitted to closed."""
