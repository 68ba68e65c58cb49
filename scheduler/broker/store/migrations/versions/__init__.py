"""One module per version of the schema; none is changed once it was released."""
