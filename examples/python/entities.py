"""Entities: keyed state that operations change one after another; locks; signals, also later ones."""

import time
from datetime import datetime, timedelta, timezone

from durabletask import client, task
from durabletask.entities import DurableEntity, EntityInstanceId
from program import check, end_of, running


class Account(DurableEntity):
    def deposit(self, amount):
        self.set_state(self.get_state(int, 0) + amount)
        return self.get_state(int)

    def withdraw(self, amount):
        if self.get_state(int, 0) < amount:
            raise ValueError("not enough")
        self.set_state(self.get_state(int) - amount)
        return self.get_state(int)

    def balance(self, _):
        return self.get_state(int, 0)

    def forward(self, to):
        self.signal_entity(EntityInstanceId("account", to), "deposit", self.get_state(int, 0))


def account(key):
    return EntityInstanceId("account", key)


def pay(ctx: task.OrchestrationContext, order):
    source, target, amount = order
    with (yield ctx.lock_entities([account(source), account(target)])):
        held = yield ctx.call_entity(account(source), "balance")
        if held < amount:
            return False
        yield ctx.call_entity(account(source), "withdraw", amount)
        yield ctx.call_entity(account(target), "deposit", amount)
    return True


def careless(ctx: task.OrchestrationContext, key):
    try:
        yield ctx.call_entity(account(key), "withdraw", 1_000_000)
    except Exception as error:
        return str(error)


def holder(ctx: task.OrchestrationContext, key):
    with (yield ctx.lock_entities([account(key)])):
        yield ctx.wait_for_external_event("Never")


def until(condition, what, seconds=10):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, what
        time.sleep(0.02)


with running(orchestrators=[pay, careless, holder], configure=lambda w: w.add_entity(Account)) as c:

    def state(key):
        found = c.get_entity(account(key))
        return found and found.get_state(int)

    check(c.get_entity(account("a")), None)
    for _ in range(50):
        c.signal_entity(account("a"), "deposit", 2)
    until(lambda: state("a") == 100, "each signal counts once")

    # Many transfers at once, in both directions: nothing is lost, nobody waits for ever.
    c.signal_entity(account("b"), "deposit", 100)
    transfers = [("a", "b", 3) if n % 2 else ("b", "a", 3) for n in range(30)]
    ids = [c.schedule_new_orchestration(pay, input=transfer) for transfer in transfers]
    assert all(end_of(c, instance).get_output() for instance in ids)
    check((state("a"), state("b")), (100, 100))

    assert "not enough" in end_of(c, c.schedule_new_orchestration(careless, input="a")).get_output()
    check(state("a"), 100, "a failed operation leaves the state as it was")

    # Who holds a lock and is ended by force gives it back.
    held = c.schedule_new_orchestration(holder, input="a")
    c.wait_for_orchestration_start(held)
    time.sleep(0.3)
    c.terminate_orchestration(held)
    end_of(c, held)
    check(end_of(c, c.schedule_new_orchestration(pay, input=("a", "b", 1))).get_output(), True)

    # Entities signal each other, and signals can wait.
    c.signal_entity(account("b"), "forward", "c")
    until(lambda: state("c") == 101, "it was forwarded")
    c.signal_entity(account("d"), "deposit", 1, datetime.now(timezone.utc) + timedelta(seconds=1))
    time.sleep(0.3)
    check(c.get_entity(account("d")), None, "its time has not come")
    until(lambda: state("d") == 1, "its time has come")

    found = c.get_all_entities(client.EntityQuery(instance_id_starts_with="@account@", include_state=True))
    check(sorted(entity.id.key for entity in found), ["a", "b", "c", "d"])
    c.signal_entity(account("d"), "delete")
    until(lambda: c.get_entity(account("d")) is None, "it was deleted")
    check(c.clean_entity_storage().empty_entities_removed, 0)
    check([s.name for s in c.get_all_orchestration_states() if s.instance_id.startswith("@")], [])
