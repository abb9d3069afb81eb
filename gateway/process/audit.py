"""The actions of the audit log: the one list that writers and readers of `audit_log` share."""

from enum import StrEnum


class AuditAction(StrEnum):
    """An operator's or a process' action, the value of `audit_log.action`.

    A `sale_settled` row carries the final accounting, which the relay announces: the row must stay
    until it was announced.
    """

    SALE_CREATED = "sale_created"
    SALE_REPLACED = "sale_replaced"
    SALE_OPEN = "sale_open"
    SALE_PAUSE = "sale_pause"
    SALE_RESUME = "sale_resume"
    SALE_CLOSE = "sale_close"
    SALE_SETTLED = "sale_settled"
    SALE_UNSETTLED = "sale_unsettled"
    ITEM_PAUSED = "item_paused"
    ITEM_RESUMED = "item_resumed"
    STOCK_ADJUSTMENT_ASKED = "stock_adjustment_asked"
    QUEUE_PAUSE = "queue_pause"
    QUEUE_ALL = "queue_all"
    QUEUE_RESUME = "queue_resume"
    QUEUE_RATE = "queue_rate"
    QUEUE_REVOKE = "queue_revoke"
    DEAD_LETTER_REPLAY_ASKED = "dead_letter_replay_asked"
    RECONCILIATION_ASKED = "reconciliation_asked"
    LEDGER_OLDER = "ledger_older"
    RECONCILIATION_REPAIRED = "reconciliation_repaired"
    LEDGER_IMPORT = "ledger_import"
