"""The broker's log: a line of JSON for each entry, for whoever collects them."""

import json
import logging
from datetime import UTC, datetime
from typing import TextIO


class JsonLines(logging.Formatter):
    """Formats an entry as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)


def write_structured_logs(stream: TextIO) -> None:
    """Let all that is said in this process go there, as lines of JSON."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    handler.addFilter(
        lambda record: (
            record.levelno >= logging.WARNING or record.name.partition(".")[0] == "fitcast"
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
