"""What fits cost: records, the store they are kept in, and the way back from it."""
