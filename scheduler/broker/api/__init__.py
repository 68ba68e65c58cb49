"""The broker's API: what may be asked of it over HTTP, by whom, and its pages."""
