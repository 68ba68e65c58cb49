"""Groups of commands of the command line, which :mod:`fitcast.cli` puts together."""
