"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[
    Path,
    typer.Argument(help="A Python file that defines `sweep`, or a JSON file that describes one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
WorkflowId = Annotated[str, typer.Argument(metavar="ID", help="A workflow, as `status` lists it.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show the result alone: no forecast, no progress.")
]
