"""The worker's side: attempts at fits, in processes of their own, measured."""
