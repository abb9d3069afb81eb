"""The other processes, and what all processes share: bounds, metrics, traces and logs."""

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from config.sections.section import Port, Secret, Section


class InventorySettings(Section):
    """Bounds inside a partition."""

    outbox_bound_events: PositiveInt = Field(
        1_000_000,
        description="events of a partition that the ledger may lack before its reserves get 503 "
        "`ledger_behind`",
    )
    outbox_keep_seconds: NonNegativeFloat = Field(
        60.0,
        description="seconds for which an outbox keeps events that the ledger has, so that a "
        "ledger that comes back older is brought up to date from them",
    )
    outbox_keep_events: NonNegativeInt = Field(
        100_000,
        description="most events that an outbox keeps for `inventory.outbox_keep_seconds`",
    )
    sweep_bound: PositiveInt = Field(
        64, description="most due holds that one reserve expires before it looks for stock"
    )


class OrderWriterSettings(Section):
    """How the ledger is written."""

    batch_max_events: PositiveInt = Field(
        2000, description="most events that the order writer applies in one transaction"
    )
    batch_wait_milliseconds: NonNegativeInt = Field(
        50, description="milliseconds that the order writer waits to fill a batch"
    )


class ReconcilerSettings(Section):
    """How often the duties run."""

    expire_interval_milliseconds: PositiveInt = Field(
        100,
        description="most milliseconds between two looks for holds that are due",
    )
    expire_batch: PositiveInt = Field(
        100, description="most holds that the reconciler expires in one script call"
    )
    trim_interval_seconds: PositiveFloat = Field(
        1.0, description="seconds between two trims of the outboxes"
    )
    compare_interval_seconds: PositiveFloat = Field(
        30.0,
        description="seconds between two comparisons of Redis with the ledger, for a sale in which "
        "something happens",
    )


class MetricsSettings(Section):
    """Where relay, order writer and reconciler show their metrics."""

    host: str = Field(
        "127.0.0.1", description="address of `/metrics` of relay, order writer and reconciler"
    )
    port: Port = Field(
        0, description="port of `/metrics` of relay, order writer and reconciler; 0 = none"
    )


class TracingSettings(Section):
    """Where OpenTelemetry spans go; needs the extra `otel`."""

    endpoint: str | None = Field(
        None,
        description="address of an OTLP collector over HTTP, such as "
        "`http://127.0.0.1:4318/v1/traces`; none: no spans",
    )
    ratio: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.01, description="share of reservations that is traced, from 0 to 1"
    )


class LogSettings(Section):
    """How processes log."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="least level of the events that are logged: `debug`, `info`, "
        "`warning` or `error`",
    )
    format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="format of log lines: `json`, `console`, or `auto` (console on a terminal, "
        "else JSON)",
    )
    buyer_ids: Literal["clear", "hashed"] = Field(
        "clear", description="how logs show buyers' ids: `clear`, or `hashed` with `log.hash_key`"
    )
    hash_key: Secret | None = Field(
        None,
        description="key of the hash for `log.buyer_ids = hashed`, one key for every process; at "
        "least 32 bytes",
    )

    @model_validator(mode="after")
    def _check_hash_key(self) -> Self:
        if self.buyer_ids == "hashed" and self.hash_key is None:
            raise ValueError("buyer_ids = hashed needs hash_key (openssl rand -hex 32 makes one)")
        return self
