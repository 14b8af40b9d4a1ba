import com.microsoft.durabletask.*;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;

/** Chaining, fan-out, events against a deadline, sub-orchestrations, continue-as-new, retries. */
public final class Patterns {
    public static void main(String[] arguments) {
        AtomicInteger attempts = new AtomicInteger();
        RetryPolicy threeTimes = new RetryPolicy(3, Duration.ofMillis(50));
        new Program(arguments)
                .activity("Greet", ctx -> "Hello " + ctx.getInput(String.class) + "!")
                .activity("Square", ctx -> ctx.getInput(Integer.class) * ctx.getInput(Integer.class))
                .activity("Sometimes", ctx -> {
                    if (attempts.incrementAndGet() < ctx.getInput(Integer.class)) {
                        throw new IllegalStateException("attempt " + attempts.get());
                    }
                    return attempts.get();
                })
                .orchestration("Chain", ctx -> {
                    List<String> greetings = new ArrayList<>();
                    for (Object city : ctx.getInput(List.class)) {
                        greetings.add(ctx.callActivity("Greet", city, String.class).await());
                    }
                    ctx.complete(greetings);
                })
                .orchestration("FanOut", ctx -> {
                    List<Task<Integer>> tasks = new ArrayList<>();
                    for (int n = 0; n < ctx.getInput(Integer.class); n++) {
                        tasks.add(ctx.callActivity("Square", n, Integer.class));
                    }
                    ctx.complete(ctx.allOf(tasks).await().stream().mapToInt(Integer::intValue).sum());
                })
                .orchestration("Approval", ctx -> {
                    Task<String> approved = ctx.waitForExternalEvent("Approve", String.class);
                    Task<Void> deadline = ctx.createTimer(Duration.ofSeconds(ctx.getInput(Integer.class)));
                    boolean inTime = ctx.anyOf(approved, deadline).await() == approved;
                    ctx.complete(inTime ? approved.await() : "too late");
                })
                .orchestration("Child", ctx -> ctx.complete(ctx.getInput(Integer.class) + 1))
                .orchestration("Parent", ctx -> {
                    List<Task<Integer>> tasks = new ArrayList<>();
                    for (int n = 0; n < ctx.getInput(Integer.class); n++) {
                        tasks.add(ctx.callSubOrchestrator("Child", n, Integer.class));
                    }
                    ctx.complete(ctx.allOf(tasks).await());
                })
                .orchestration("Counter", ctx -> {
                    // This version of the SDK would carry consumed events over too; so none are kept here.
                    int n = ctx.getInput(Integer.class);
                    if (n < 10) {
                        ctx.continueAsNew(n + 1, false);
                    } else {
                        ctx.complete(n);
                    }
                })
                .orchestration("Retried", ctx -> {
                    TaskOptions options = new TaskOptions(threeTimes);
                    ctx.complete(ctx.callActivity("Sometimes", ctx.getInput(Integer.class), options, Integer.class).await());
                })
                .orchestration("Failing", ctx -> {
                    try {
                        ctx.callActivity("Sometimes", Integer.MAX_VALUE, Integer.class).await();
                    } catch (TaskFailedException failed) {
                        ctx.complete(failed.getErrorDetails().getErrorType());
                    }
                })
                .run(program -> {
            Program.check(program.result(List.class, "Chain", List.of("Oslo", "Köln")),
                    List.of("Hello Oslo!", "Hello Köln!"), "chaining");
            Program.check(program.result(Integer.class, "FanOut", 100), 328350, "fan-out");

            Program.check(program.result(String.class, "Approval", 1), "too late", "a deadline");
            String approved = program.client.scheduleNewOrchestrationInstance("Approval", 30);
            program.client.raiseEvent(approved, "Approve", "Ada");
            Program.check(program.endOf(approved).readOutputAs(String.class), "Ada", "an approval");

            Program.check(program.result(List.class, "Parent", 3), List.of(1, 2, 3), "sub-orchestrations");

            Program.check(program.result(Integer.class, "Counter", 0), 10, "continue-as-new");

            Program.check(program.result(Integer.class, "Retried", 3), 3, "retries");
            Program.check(program.result(String.class, "Failing", null), "java.lang.IllegalStateException", "a failure");
        });
    }
}
