import com.microsoft.durabletask.*;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Suspend, resume, terminate, restart, query, purge, custom status, ids that are used again, a start that lies ahead. */
public final class Control {
    public static void main(String[] arguments) {
        Instant began = Instant.now().minusSeconds(1);
        Semaphore begunTurns = new Semaphore(0);
        new Program(arguments)
                .orchestration("Wait", ctx -> {
                    ctx.setCustomStatus("waiting");
                    ctx.complete(ctx.waitForExternalEvent("Go", Integer.class).await());
                })
                .orchestration("Slow", ctx -> {
                    // The first turn itself takes long: until it is over, the instance has not begun.
                    begunTurns.release();
                    try {
                        Thread.sleep(1500);
                    } catch (InterruptedException interrupted) {
                        throw new IllegalStateException(interrupted);
                    }
                    ctx.complete(null);
                })
                .orchestration("Echo", ctx -> ctx.complete(ctx.getInput(String.class)))
                .run(program -> {
            DurableTaskClient client = program.client;

            String held = client.scheduleNewOrchestrationInstance("Wait", null, "held");
            client.waitForInstanceStart(held, Duration.ofSeconds(10));
            Program.check(program.until(held, OrchestrationRuntimeStatus.RUNNING).readCustomStatusAs(String.class),
                    "waiting", "custom status");
            client.suspendInstance(held, "a pause");
            program.until(held, OrchestrationRuntimeStatus.SUSPENDED);
            client.raiseEvent(held, "Go", 42);
            try {
                client.waitForInstanceCompletion(held, Duration.ofSeconds(1), false);
                throw new AssertionError("it went on while suspended");
            } catch (TimeoutException expected) {
                client.resumeInstance(held, "go on");
            }
            Program.check(program.endOf(held).readOutputAs(Integer.class), 42, "after the pause");

            String ended = client.scheduleNewOrchestrationInstance("Wait");
            client.waitForInstanceStart(ended, Duration.ofSeconds(10));
            client.terminate(ended, "enough");
            OrchestrationMetadata state = program.endOf(ended);
            Program.check(state.getRuntimeStatus(), OrchestrationRuntimeStatus.TERMINATED, "terminate");
            Program.check(state.readOutputAs(String.class), "enough", "the reason");

            // The id of one that has ended may be used again, that of one that runs may not.
            Program.check(client.restartInstance(held, false), held, "restart");
            try {
                client.scheduleNewOrchestrationInstance("Wait", null, held);
                throw new AssertionError("it was started twice");
            } catch (RuntimeException expected) {
                Program.check(expected.toString().contains("ALREADY_EXISTS"), true, expected.toString());
            }
            client.raiseEvent(held, "Go", 43);
            Program.check(program.endOf(held).readOutputAs(Integer.class), 43, "after the restart");
            String other = client.restartInstance(held, true);
            Program.check(other.equals(held), false, "restart with a new id");
            client.terminate(other, null);
            program.endOf(other);

            String slow = client.scheduleNewOrchestrationInstance("Slow");
            try {
                client.waitForInstanceStart(slow, Duration.ofMillis(700));
                throw new AssertionError("it had not begun");
            } catch (TimeoutException expected) {
                program.endOf(slow);
            }
            // Nobody waits for what a turn brings whose instance was terminated meanwhile; the worker goes on.
            begunTurns.drainPermits();
            String cut = client.scheduleNewOrchestrationInstance("Slow");
            Program.check(begunTurns.tryAcquire(30, TimeUnit.SECONDS), true, "the turn of " + cut);
            client.terminate(cut, null);
            Program.check(program.endOf(cut).getRuntimeStatus(), OrchestrationRuntimeStatus.TERMINATED, "cut short");

            NewOrchestrationInstanceOptions later = new NewOrchestrationInstanceOptions()
                    .setInput("later").setStartTime(Instant.now().plusSeconds(1));
            OrchestrationMetadata late = program.endOf(client.scheduleNewOrchestrationInstance("Echo", later));
            Program.check(late.readOutputAs(String.class), "later", "a start that lies ahead");
            Program.check(late.getLastUpdatedAt().isBefore(late.getCreatedAt().plusMillis(900)), false, "it began early");

            for (int n = 0; n < 25; n++) {
                client.scheduleNewOrchestrationInstance("Echo", "x", "page-" + n);
            }
            for (int n = 0; n < 25; n++) {
                program.endOf("page-" + n);
            }
            OrchestrationStatusQuery query = new OrchestrationStatusQuery().setCreatedTimeFrom(began)
                    .setInstanceIdPrefix("page-").setMaxInstanceCount(10).setFetchInputsAndOutputs(true)
                    .setRuntimeStatusList(List.of(OrchestrationRuntimeStatus.COMPLETED));
            int found = 0;
            OrchestrationStatusQueryResult page;
            do {
                page = client.queryInstances(query);
                found += page.getOrchestrationState().size();
                page.getOrchestrationState().forEach(one -> Program.check(one.readOutputAs(String.class), "x", "a page"));
                query.setContinuationToken(page.getContinuationToken());
            } while (page.getContinuationToken() != null && !page.getContinuationToken().isEmpty());
            Program.check(found, 25, "query");

            Program.check(client.purgeInstance("page-0").getDeletedInstanceCount(), 1, "purge");
            Program.check(client.purgeInstance("page-0").getDeletedInstanceCount(), 0, "purge again");
            Program.check(client.getInstanceMetadata("page-0", false).isInstanceFound(), false, "purged");
            PurgeInstanceCriteria all = new PurgeInstanceCriteria().setCreatedTimeFrom(began)
                    .setRuntimeStatusList(List.of(OrchestrationRuntimeStatus.COMPLETED));
            Program.check(client.purgeInstances(all).getDeletedInstanceCount() >= 24, true, "purge by filter");
        });
    }
}
