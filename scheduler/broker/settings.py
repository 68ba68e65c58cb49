"""What the broker reads from the environment: ``FITCAST_BROKER_…``.

Beside these it has the settings of any process (:mod:`fitcast.settings`) and of Kubernetes.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fitcast.errors import InvalidInputError

PREFIX = "FITCAST_BROKER_"


class BrokerSettings(BaseSettings):
    """Settings of a broker.

    Attributes
    ----------
    database : SecretStr
        URL of its database, ``sqlite:///…`` or ``postgresql+psycopg://…``; SQLite under the home by
        default.
    key_file : Path or None
        The file of the key-encryption keys; ``broker/keys.json`` under the home by default.
    vault_address, vault_key : str or None
        A Vault server and the name of a transit key in it, in place of a file.
    vault_token : SecretStr or None
        What opens Vault.
    host, port
        Where it listens.
    certificate, private_key : Path or None
        PEM files, for TLS of its own.
    running : int
        How many workflows it runs at once.
    running_per_user : int
        How many of one user's.
    lease_s : float
        After so many seconds without a sign of life, other replicas go on with what it ran.
    half_life_s : float
        In so many seconds, half of what a user used is forgotten by fair share.
    fits, upload_bytes : int
        What one submission may have.
    data : tuple of str
        Addresses, separated by blanks, under which data of sweeps may lie that come as plain JSON;
        without any, none is taken.
    packages : tuple of str
        Packages whose classes such sweeps may name.
    address : str or None
        Where workers reach the broker, to bring what they prepared; where it listens by default.
    pickled : bool
        Whether sweeps are taken that users' clients pickled; else as plain JSON alone.
    oidc_issuer, oidc_audience : str or None
        An OpenID Connect provider whose tokens are taken, too, and whom they must be for.
    oidc_algorithm : str
        By which they must be signed.
    oidc_user_claim : str
        The claim that has the user's name.
    oidc_adds_users : bool
        Whether whom the provider knows becomes a user.
    uploads : int
        How many uploads it takes in at once, a quarter of them of one user's.
    stall_s : float
        An upload of which nothing comes for so many seconds is ended, and can be gone on with; a
        reader that takes nothing for so long is hung up on.
    metrics_open : bool
        Whether ``/metrics`` is told to anybody who reaches it; else to administrators.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    database: SecretStr | None = None
    key_file: Path | None = None
    vault_address: str | None = None
    vault_key: str | None = None
    vault_token: SecretStr | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65_535)
    certificate: Path | None = None
    private_key: Path | None = None
    running: int = Field(default=32, ge=1, le=10_000)
    running_per_user: int = Field(default=8, ge=1, le=10_000)
    lease_s: float = Field(default=10.0, ge=1.0, le=3600.0)
    half_life_s: float = Field(default=86_400.0, ge=60.0, allow_inf_nan=False)
    fits: int = Field(default=100_000, ge=1)
    upload_bytes: int = Field(default=64 * 2**30, ge=2**20)
    data: Annotated[tuple[str, ...], NoDecode] = ()
    packages: Annotated[tuple[str, ...], NoDecode] = ("lightgbm", "sklearn", "xgboost")
    address: str | None = None
    pickled: bool = True
    oidc_issuer: str | None = None
    oidc_audience: str | None = None
    oidc_algorithm: str = "RS256"
    oidc_user_claim: str = "sub"
    oidc_adds_users: bool = False
    uploads: int = Field(default=256, ge=1, le=10_000)
    stall_s: float = Field(default=60.0, ge=0.1, le=3600.0)
    metrics_open: bool = False

    @field_validator("data", "packages", mode="before")
    @classmethod
    def _listed(cls, told: object) -> object:
        return tuple(told.split()) if isinstance(told, str) else told

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            parts = [
                f"{PREFIX}{str(one['loc'][0]).upper() if one['loc'] else ''}: {one['msg'].lower()}"
                for one in error.errors(include_url=False, include_input=False)
            ]
            raise InvalidInputError(
                f"These settings can't be used: {'; '.join(parts)}. Change or unset what is named."
            ) from None
        if (self.certificate is None) != (self.private_key is None):
            raise InvalidInputError(
                f"{PREFIX}CERTIFICATE and {PREFIX}PRIVATE_KEY go together: set both, or none"
            )

        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise InvalidInputError(
                f"{PREFIX}OIDC_ISSUER and {PREFIX}OIDC_AUDIENCE go together: set both, or none"
            )

    def database_url(self, home: Path) -> str:
        """Return the URL of the database; it may hold a password."""
        if self.database is not None:
            return self.database.get_secret_value()
        return f"sqlite:///{quote(str(home / 'broker' / 'broker.db'))}"
