"""Every setting of every process, in one frozen tree.

Order of precedence: `DROPGATE_SECTION__NAME` environment variables, then the TOML file named by
`DROPGATE_CONFIG` (or `--config`), then the defaults below. Unknown names are refused, and all
mistakes are reported together (`SettingsError`). A name ends in its unit.

`Settings(...)` itself reads nothing from outside: tests and the supervisor build one from values.
`config.sources.load_settings()` is the only place that looks at the environment and at a file.

The sections stand in `config/sections`; each field has its description there, from which
`make reference` writes the tables of docs/reference/settings.md.
"""

from config.sections.gateway import (
    AuthSettings,
    GatewaySettings,
    RateLimitSettings,
    WaitingRoomSettings,
)
from config.sections.processes import (
    InventorySettings,
    LogSettings,
    MetricsSettings,
    OrderWriterSettings,
    ReconcilerSettings,
    TracingSettings,
)
from config.sections.section import Section, sentinel_addresses
from config.sections.servers import EventLogSettings, PostgresSettings, RedisSettings

# The one name by which everybody else imports a section.
__all__ = [
    "AuthSettings",
    "EventLogSettings",
    "GatewaySettings",
    "InventorySettings",
    "LogSettings",
    "MetricsSettings",
    "OrderWriterSettings",
    "PostgresSettings",
    "RateLimitSettings",
    "ReconcilerSettings",
    "RedisSettings",
    "Settings",
    "TracingSettings",
    "WaitingRoomSettings",
    "sentinel_addresses",
]


class Settings(Section):
    """The whole tree; each process uses the sections it needs."""

    redis: RedisSettings = RedisSettings()
    postgres: PostgresSettings = PostgresSettings()
    event_log: EventLogSettings = EventLogSettings()
    gateway: GatewaySettings = GatewaySettings()
    rate_limit: RateLimitSettings = RateLimitSettings()
    auth: AuthSettings = AuthSettings()
    inventory: InventorySettings = InventorySettings()
    waiting_room: WaitingRoomSettings = WaitingRoomSettings()
    order_writer: OrderWriterSettings = OrderWriterSettings()
    reconciler: ReconcilerSettings = ReconcilerSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()
