"""What an operator may set for the admin room."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from guidevane.access import check_access
from guidevane.settings import RoomSettings


class AdminSettings(RoomSettings):
    """Settings of the admin room: where it listens, and the token that lets in.

    Without ``admin_token`` (16 characters or more) it listens on a loopback address only.
    """

    admin_host: str = "127.0.0.1"
    admin_port: Annotated[int, Field(ge=0, le=65535)] = 8088
    admin_token: SecretStr | None = None

    def token(self) -> str | None:
        """Return the token. Raises ``Misconfigured`` where it is too short, or missing on a public address."""
        token = self.admin_token.get_secret_value() if self.admin_token is not None else None
        check_access(self.admin_host, token, setting="GUIDEVANE_ADMIN_TOKEN")
        return token
