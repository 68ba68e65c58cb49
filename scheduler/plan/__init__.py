"""What is to be done: events in, actions out; pure."""
