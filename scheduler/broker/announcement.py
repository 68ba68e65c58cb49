"""What a user's client says of a workflow before it uploads anything.

In: the form of it, and caps that are checked before anything is expanded. Plain data: nothing here
is ever unpickled or imported. Not in: what is done with it
(:mod:`fitcast.scheduler.broker.service`).
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fitcast.errors import InvalidInputError, SubmissionError, TooLargeError
from fitcast.trainer.sealing import SealedDataset

KEY_BYTES: Final = 32
MOST_INLINE_BYTES: Final = 4 * 2**20
"""A sealed file of up to so many bytes may come with the announcement."""

LEAST_PRIORITY: Final = -100
MOST_PRIORITY: Final = 100

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]


class AnnouncedFile(BaseModel):
    """A sealed file that is to be uploaded."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    dataset_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    plaintext_bytes: Count
    sealed_bytes: Annotated[int, Field(ge=1, le=2**63 - 1)]
    sealed_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    content: Annotated[bytes | None, Field(repr=False, exclude=True)] = None
    """The file itself, as base64, if it is small: nothing is uploaded then."""

    @field_validator("content", mode="before")
    @classmethod
    def _content(cls, told: object) -> bytes | None:
        if told is None:
            return None
        try:
            content = base64.b64decode(told, validate=True) if isinstance(told, str) else b""
        except (binascii.Error, ValueError):
            content = b""
        if not 0 < len(content) <= MOST_INLINE_BYTES:
            raise ValueError(f"it must be 1 to {MOST_INLINE_BYTES:,} bytes, as base64")
        return content

    def at(self, uri: str, workflow_id: str) -> SealedDataset:
        """Return it as it will be once it has been uploaded."""
        return SealedDataset(
            uri=uri,
            dataset_id=self.dataset_id,
            workflow_id=workflow_id,
            plaintext_bytes=self.plaintext_bytes,
            sealed_bytes=self.sealed_bytes,
            sealed_sha256=self.sealed_sha256,
        )


class Announcement(BaseModel):
    """A workflow that is to be uploaded."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    workflow_id: Annotated[str, Field(pattern=r"^[0-9]{8}-[0-9]{6}-[0-9a-f]{32}$")]
    version: Annotated[str, Field(min_length=1, max_length=50)]
    submission: Any
    key: Annotated[bytes, Field(repr=False)]
    priority: Annotated[int, Field(ge=LEAST_PRIORITY, le=MOST_PRIORITY)] = 0
    dataset: AnnouncedFile
    sweep: AnnouncedFile

    @property
    def contents(self) -> dict[str, bytes] | None:
        """The sealed files, if both came with it."""
        dataset, sweep = self.dataset.content, self.sweep.content
        return None if dataset is None or sweep is None else {"dataset": dataset, "sweep": sweep}

    @field_validator("key", mode="before")
    @classmethod
    def _key(cls, told: object) -> bytes:
        try:
            key = base64.b64decode(told, validate=True) if isinstance(told, str) else b""
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(f"it must be {KEY_BYTES} bytes, as base64")
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What one request may ask for, whoever asks.

    Attributes
    ----------
    body_bytes : int
        Bytes of JSON.
    fits : int
        Of one sweep.
    upload_bytes : int
        Of one sealed file.
    pickled : bool
        Whether sweeps are taken as users' clients pickled them; else as descriptions alone.
    uploads : int
        That are under way at once.
    stall_s : float
        For which nothing of an upload may come.
    """

    body_bytes: int = 64 * 2**20
    fits: int = 100_000
    upload_bytes: int = 64 * 2**30
    pickled: bool = True
    uploads: int = 256
    stall_s: float = 60.0


def body_of(data: bytes) -> dict[str, Any]:
    """Return the object that a body of JSON holds.

    Raises
    ------
    InvalidInputError
        It is none, or too deep.
    """
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"the body is no JSON that can be read ({error})") from None
    if not isinstance(told, dict):
        raise InvalidInputError("the body must be a JSON object")
    return told


def announcement_of(told: dict[str, Any], caps: Caps) -> Announcement:
    """Return what a client announced.

    Raises
    ------
    InvalidInputError
        Something of it is missing, unknown or no such value; the message names it.
    TooLargeError
        It is larger than the platform takes.
    """
    try:
        announced = Announcement.model_validate(told)
    except ValidationError as error:
        raise InvalidInputError(_said(error)) from None
    check_fits(announced.submission, caps)
    for name, file in (("dataset", announced.dataset), ("sweep", announced.sweep)):
        if file.sealed_bytes > caps.upload_bytes:
            raise TooLargeError(
                f"the sealed {name} has {file.sealed_bytes:,} bytes, and this platform takes up to "
                f"{caps.upload_bytes:,}: give fewer rows, or ask who runs it"
            )
    return announced


def check_fits(submission: Any, caps: Caps) -> None:
    """Check how many fits a submission stands for, without making any.

    Raises
    ------
    SubmissionError
        It isn't one.
    TooLargeError
        It has more fits than the platform takes.
    """
    try:
        each = len(submission["folds"])
        if submission.get("rounds"):  # a candidate has but those of its own round
            each = int(submission["n_splits"])
        fits = len(submission["candidates"]) * each
    except (TypeError, KeyError, ValueError, AttributeError):
        raise SubmissionError("the submission is damaged: it has no candidates and folds") from None
    if fits > caps.fits:
        raise TooLargeError(
            f"the sweep has {fits:,} fits, and this platform takes up to {caps.fits:,} at once: "
            "submit it in parts"
        )


def _said(error: ValidationError) -> str:
    """Return what is wrong where; never the value, which may be a key."""
    parts = [
        f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    ]
    return f"the announcement can't be used: {'; '.join(parts[:10])}"
