"""What the books of one contestant say after a run with impatient buyers."""

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """The books of one contestant at rest; every count but `promised` should be zero."""

    contestant: str
    setting: str
    stock: int
    promised: int
    oversold: int
    stranded: int  # units neither promised nor there to be sold
    left_unsold: int  # units there to be sold, although buyers were refused
    doubled: int  # keys with more than one reservation
    unanswered: int  # buyers without an answer after all tries

    @property
    def correct(self) -> bool:
        """Whether all units sold once."""
        wrong = self.oversold + self.stranded + self.left_unsold + self.doubled + self.unanswered
        return wrong == 0

    @property
    def text(self) -> str:
        """`correct`, or what is wrong."""
        faults = {
            "oversold": self.oversold,
            "stranded": self.stranded,
            "left unsold": self.left_unsold,
            "doubled": self.doubled,
            "unanswered": self.unanswered,
        }
        found = ", ".join(f"{count} {fault}" for fault, count in faults.items() if count)
        return found or "correct"
