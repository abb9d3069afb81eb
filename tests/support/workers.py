"""How pytest-xdist's workers share the tests: `make test` runs two workers."""

import pytest
from xdist.scheduler import LoadScopeScheduling

# One worker runs all of these: they share a running system, and two crowds at once, each with its
# faults, would be more than two cores bear.
TOGETHER = ("tests/chaos", "tests/browser")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Each file's tests, and each folder's of `TOGETHER`, stay in one worker, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """The scheduler of a run with workers (`-n`)."""
    # In the order of collection: the folders that take longest come first, and the last files are
    # short, so that no worker is left alone with a long one.
    config.option.loadscopereorder = False
    return ByFile(config, log)
