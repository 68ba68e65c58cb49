"""When it will be done: ETAs, and what other workers would change."""
