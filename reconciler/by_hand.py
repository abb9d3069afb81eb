"""A duty, once, by hand, for one sale. Safe beside a running reconciler: duties are repeatable."""

from config.settings import Settings
from reconciler.comparing.balanced import Balanced
from reconciler.comparing.compare import CompareConfig
from reconciler.context import Context, open_context
from reconciler.duties.directory import Directory, LivePartition, read_partitions
from reconciler.duties.expire import BATCH_MAX_HOLDS
from reconciler.duties.reconcile import Reconcile
from reconciler.duties.recover import Recover, RecoverConfig
from reconciler.duties.sights import Sights
from reconciler.duties.trim import needed

DUTIES = ("expire", "reconcile", "recover", "trim")
# Calls of `expire` for one partition; with the largest batch this is ten million holds.
SWEEPS_MAX = 10_000


async def run_once(settings: Settings, duty: str, sale_id: str) -> str:
    """Run the duty; returns what came of it, a line for each partition.

    Raises ValueError for an unknown duty or a sale without partitions, and the errors of servers
    that cannot be reached.
    """
    if duty not in DUTIES:
        raise ValueError(f"no duty {duty}: there are {', '.join(DUTIES)}")
    async with open_context(settings) as context:
        partitions = await read_partitions(context.ledger, sale_id)
        if not partitions:
            raise ValueError(f"{sale_id}: no sale of this name is open, paused or closed")
        if duty == "reconcile":
            return await reconcile_of(context, CompareConfig()).run_by_hand(sale_id)
        if duty == "recover":
            return await _recover(context, sale_id)
        work = _expire if duty == "expire" else _trim
        return "\n".join([await work(context, live) for live in partitions])


def reconcile_of(context: Context, config: CompareConfig) -> Reconcile:
    """The duty alone, with nothing known from before."""
    sights = Sights(context.store, Directory(context.ledger))
    return Reconcile(context, sights, Balanced(config), config)


def recover_of(context: Context) -> Recover:
    """The duty alone, with nothing known from before."""
    sights = Sights(context.store, Directory(context.ledger))
    return Recover(context, sights, Balanced(CompareConfig()), RecoverConfig())


async def _expire(context: Context, live: LivePartition) -> str:
    expired = 0
    for _ in range(SWEEPS_MAX):
        reply = await context.store.expire(live.partition, BATCH_MAX_HOLDS)
        expired += reply.expired
        if not reply.still_due:
            break
    return f"{live}: {expired} holds returned"


async def _trim(context: Context, live: LivePartition) -> str:
    mark = live.watermark
    kept = await needed(context, live)
    reply = await context.store.trim(live.partition, mark, kept, by=live.ledger)
    return f"{live}: {reply.trimmed} events trimmed below {mark.epoch}-{reply.ledger_sequence}"


async def _recover(context: Context, sale_id: str) -> str:
    report = await recover_of(context).recover_sale(sale_id)
    return "\n".join(f"{partition}: {outcome}" for partition, outcome in report)
