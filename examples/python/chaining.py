"""One activity after the other, then many at once."""

from durabletask import task
from program import check, end_of, running


def greet(_, city):
    return f"Hello {city}!"


def square(_, n):
    return n * n


def chain(ctx: task.OrchestrationContext, cities):
    greetings = []
    for city in cities:
        greetings.append((yield ctx.call_activity(greet, input=city)))
        ctx.set_custom_status(len(greetings))
    return greetings


def fan_out(ctx: task.OrchestrationContext, count):
    results = yield task.when_all([ctx.call_activity(square, input=n) for n in range(count)])
    return sum(results)


with running(orchestrators=[chain, fan_out], activities=[greet, square]) as c:
    first = c.schedule_new_orchestration(chain, input=["Oslo", "Rom", "Köln"], tags={"team": "a"})
    many = c.schedule_new_orchestration(fan_out, input=200)
    state = end_of(c, first)
    check(state.get_output(), ["Hello Oslo!", "Hello Rom!", "Hello Köln!"])
    check(state.get_custom_status(), 3)
    check(state.get_input(), ["Oslo", "Rom", "Köln"])
    check(end_of(c, many).get_output(), sum(n * n for n in range(200)))
    events = [type(event).__name__ for event in c.get_orchestration_history(first)]
    check(events.count("TaskScheduledEvent"), 3, events)
    check(events[-1], "ExecutionCompletedEvent")
