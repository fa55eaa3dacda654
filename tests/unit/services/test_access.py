"""A door never stands open by accident."""

from __future__ import annotations

import pytest

from guidevane.access import check_access
from guidevane.errors import Misconfigured
from guidevane.services.admin.settings import AdminSettings

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org", ""])  # noqa: S104 - never bound
def test_given_a_public_address_then_a_token_is_wanted(host: str) -> None:
    with pytest.raises(Misconfigured, match="GUIDEVANE_ADMIN_TOKEN"):
        AdminSettings(admin_host=host).token()
    assert AdminSettings(admin_host=host, admin_token=TOKEN).token() == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_given_a_loopback_address_then_none_is_needed(host: str) -> None:
    assert AdminSettings(admin_host=host).token() is None


def test_given_a_short_token_then_it_is_refused_even_on_loopback_and_never_shown() -> None:
    with pytest.raises(Misconfigured) as refused:
        check_access("127.0.0.1", "short", setting="GUIDEVANE_ADMIN_TOKEN")
    assert "short" not in str(refused.value)
    assert TOKEN not in repr(AdminSettings(admin_token=TOKEN))
