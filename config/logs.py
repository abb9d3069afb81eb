"""How processes log: events with an `action` and ids, as JSON lines or for a terminal."""

import logging
import sys

import structlog
from structlog.typing import Processor

from config.hidden import HideBuyers, in_lines
from config.settings import LogSettings

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


# Tracebacks leave out the frames' variables, which hold tokens, secrets and buyers.
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logs(settings: LogSettings, process: str) -> None:
    """Set up structlog and, through it, the standard library's loggers; all goes to stderr.

    Every event carries `process`, the kind of process that logs it.
    """
    level = _LEVELS[settings.level]
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendering: list[Processor] = (
        [_tracebacks, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    if settings.buyer_ids == "hashed" and settings.hash_key is not None:
        hide = HideBuyers(settings.hash_key.get_secret_value())
        rendering = [_tracebacks, hide, *(() if as_json else (in_lines,)), rendering[-1]]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    # Libraries report what they cannot handle; their events below a warning are left out.
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
