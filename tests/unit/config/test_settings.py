from pathlib import Path

import pytest
from pydantic import ValidationError

from config.settings import AuthSettings, RedisSettings, Settings
from config.sources import MASK, SettingsError, environment_of, explain, load_settings

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os  # noqa: PLC0415 - only this fixture looks at the environment

    for name in list(os.environ):
        if name.startswith("DROPGATE_"):
            monkeypatch.delenv(name)


def test_defaults_are_usable() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.redis.durability == "fsync"
    assert settings.event_log.kind == "outbox"


def test_environment_wins_over_file_over_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "dropgate.toml"
    file.write_text("[redis]\nconnections = 5\nsocket_timeout_seconds = 3.0\n")
    monkeypatch.setenv("DROPGATE_CONFIG", str(file))
    monkeypatch.setenv("DROPGATE_REDIS__CONNECTIONS", "7")

    settings = load_settings()

    assert settings.redis.connections == 7
    assert settings.redis.socket_timeout_seconds == 3.0
    assert settings.redis.connect_timeout_seconds == 0.5
    assert load_settings(file) == settings
    sources = {setting.name: setting.source for setting in explain(settings)}
    assert sources["redis.connections"] == "environment"
    assert sources["redis.socket_timeout_seconds"] == str(file)
    assert sources["redis.connect_timeout_seconds"] == "default"


def test_all_mistakes_are_reported_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "dropgate.toml"
    file.write_text('[redis]\nurll = "redis://x"\nconnections = 0\n[queue]\nsize = 1\n')
    monkeypatch.setenv("DROPGATE_REDIS_URL", "redis://misspelt")
    monkeypatch.setenv("DROPGATE_STOCK__SIZE", "1")
    monkeypatch.setenv("DROPGATE_AUTH__SECRET", "short")
    monkeypatch.setenv("DROPGATE_GATEWAY__PORT", "65536")
    monkeypatch.setenv("DROPGATE_POSTGRES__DSN", "mysql://x")

    with pytest.raises(SettingsError) as caught:
        load_settings(file)

    text = str(caught.value)
    for name in (
        "redis.urll",
        "redis.connections",
        "queue",
        "DROPGATE_REDIS_URL",
        "DROPGATE_STOCK__SIZE",
        "auth.secret",
        "gateway.port",
        "postgres.dsn",
    ):
        assert name in text, name
    assert len(caught.value.problems) == 8
    meaning = RedisSettings.model_fields["connections"].description
    assert f"greater than 0 (meaning: {meaning})" in text
    assert "short" not in text, "a refused secret is not printed"


@pytest.mark.parametrize("content", ["[redis\n", "redis = 3\n"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "dropgate.toml"
    file.write_text(content)
    with pytest.raises(SettingsError):
        load_settings(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load_settings(tmp_path / "absent.toml")


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    settings = Settings.model_validate(
        {
            "redis": {"url": "redis://user:hunter2@localhost:6379/0"},
            "postgres": {"dsn": "postgresql://user:hunter3@localhost/dropgate"},
            "auth": {"secret": SECRET},
        }
    )
    shown = "\n".join(f"{setting.name} {setting.value}" for setting in explain(settings))
    for text in (shown, repr(settings)):
        assert "hunter2" not in text
        assert "hunter3" not in text
        assert SECRET not in text
    assert f"redis.url redis://user:{MASK}@localhost:6379/0" in shown


def test_a_child_gets_exactly_these_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_validate(
        {
            "redis": {"url": "redis://localhost:1/0", "allow_failover_loss": True},
            "gateway": {"workers": 2, "run_dir": "/var/run/dropgate"},
            "auth": {"secret": SECRET},
            "event_log": {"kind": "kafka"},
        }
    )
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        RedisSettings().connections = 3  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    for setting in explain(Settings()):
        assert setting.description, setting.name


def test_the_shortest_secret_has_32_bytes_not_characters() -> None:
    AuthSettings.model_validate({"secret": "é" * 16})
    with pytest.raises(ValidationError):
        AuthSettings.model_validate({"secret": "x" * 31})


def test_the_production_example_is_one() -> None:
    """The example loads, and sets every limit there is."""
    settings = load_settings(Path(__file__).parents[3] / "config" / "production.example.toml")
    assert settings.gateway.trusted_proxies
    assert settings.gateway.max_connections_per_address
    values = settings.rate_limit.model_dump()
    assert not [name for name, value in values.items() if not value]


def test_a_wrong_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPGATE_GATEWAY__TRUSTED_PROXIES", "10.0.0.0/8, 10.1.1.1/8")
    with pytest.raises(SettingsError, match=r"10\.1\.1\.1/8 is no network"):
        load_settings()
