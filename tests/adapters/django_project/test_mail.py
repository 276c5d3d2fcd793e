"""Reports leave a Django project the way its other e-mail does."""

from typing import Any

import django
import pytest
from django.core import mail
from django.test.utils import override_settings

from analytics_middleware import cli
from analytics_middleware_django import get_analytics


def mail_by(backend: str) -> dict[str, Any]:
    """Return the settings of a project that sends its mail by *backend*; Django 6.1 has new ones for it."""
    return {"EMAIL_BACKEND": backend} if django.VERSION < (6, 1) else {"MAILERS": {"default": {"BACKEND": backend}}}


LOCMEM = {**mail_by("django.core.mail.backends.locmem.EmailBackend"), "DEFAULT_FROM_EMAIL": "shop@shop.example"}
TO = ("report", "--daily", "--send-to", "ops@shop.example")


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[mail.EmailMessage]:
    """What the project has sent."""
    found: list[mail.EmailMessage] = []
    monkeypatch.setattr(mail, "outbox", found, raising=False)
    return found


def test_a_report_is_sent_by_the_projects_own_e_mail(sent: list[mail.EmailMessage]) -> None:
    with override_settings(**LOCMEM):
        assert cli.main(TO, application=get_analytics) == 0
    [message] = sent
    assert isinstance(message, mail.EmailMultiAlternatives)
    assert (message.from_email, message.to) == ("shop@shop.example", ["ops@shop.example"])
    assert message.subject.startswith("Analytics: ")
    assert "Visitors" in str(message.body)
    [html] = message.alternatives
    assert str(html[0]).startswith("<!doctype html>")


def test_a_setting_of_ones_own_takes_its_place(sent: list[mail.EmailMessage]) -> None:
    taken: list[str] = []
    with override_settings(**LOCMEM, ANALYTICS={"MAIL": lambda to, *_words: taken.append(to)}):
        assert cli.main(TO, application=get_analytics) == 0
    assert taken == ["ops@shop.example"]
    assert sent == []


def test_a_backend_that_fails_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with override_settings(**mail_by("no.such.Backend")):
        assert cli.main(TO, application=get_analytics) == 1
    error = "ModuleNotFoundError" if django.VERSION < (6, 1) else "InvalidMailer"
    assert capsys.readouterr().err == f"not sent: ops@shop.example: sending failed with {error}\n"
