"""The client's side: a sweep becomes fits, and what the fits gave becomes results."""
