"""Through the waiting room, where the sale has one."""

import gevent

from loadtest.client.history import NO_ANSWER
from loadtest.crowd.visitor import Visitor

LOOK_AGAIN_SECONDS = 1.0  # the pause when the answer names no pause
LOOK_AGAIN_MOST_SECONDS = 10.0  # a visitor notices the end of a run within this time


def enter(visitor: Visitor) -> bool:
    """Join, and poll as often as the answers say; returns whether the buyer got in.

    Some buyers lose patience, half of those without giving up their place; some are let in and
    never reserve.
    """
    run, plan = visitor.run, visitor.plan
    if run.plan.room is None:
        return True
    ticket = ""
    while not run.is_ending:
        attempt, answer = visitor.queue("poll" if ticket else "join", ticket)
        if attempt.status == 200 and answer.state == "admitted":
            visitor.admission = run.last_admission = answer.admission_token or ""
            return not visitor.happens(plan.ignores_admission)
        is_waiting = attempt.status == 200 and answer.state == "waiting"
        if not is_waiting and attempt.status not in {503, NO_ANSWER}:
            return False
        ticket = answer.ticket or ticket
        if visitor.happens(plan.leaves_queue):
            if ticket and visitor.happens(0.5):
                visitor.queue("leave", ticket)
            return False
        pause_seconds = answer.poll_after_seconds or LOOK_AGAIN_SECONDS
        gevent.sleep(min(pause_seconds, LOOK_AGAIN_MOST_SECONDS))
    return False
