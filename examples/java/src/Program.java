import com.microsoft.durabletask.*;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

/** What the programs of this folder share: an address, a worker, a client, and checks with a reason. */
final class Program implements AutoCloseable {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private final ManagedChannel channel;
    private final DurableTaskGrpcWorkerBuilder builder;
    private DurableTaskGrpcWorker worker;
    final DurableTaskClient client;

    Program(String[] arguments) {
        String address = arguments.length > 0 ? arguments[0] : "localhost:4001";
        channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build();
        builder = new DurableTaskGrpcWorkerBuilder().grpcChannel(channel);
        client = new DurableTaskGrpcClientBuilder().grpcChannel(channel).build();
    }

    Program orchestration(String name, TaskOrchestration orchestration) {
        builder.addOrchestration(new TaskOrchestrationFactory() {
            public String getName() { return name; }
            public TaskOrchestration create() { return orchestration; }
        });
        return this;
    }

    Program activity(String name, TaskActivity activity) {
        builder.addActivity(new TaskActivityFactory() {
            public String getName() { return name; }
            public TaskActivity create() { return activity; }
        });
        return this;
    }

    /** The state of an instance that has ended. */
    OrchestrationMetadata endOf(String instance) throws Exception {
        return client.waitForInstanceCompletion(instance, PATIENCE, true);
    }

    /** What a started orchestration brings. */
    <T> T result(Class<T> type, String name, Object input) throws Exception {
        OrchestrationMetadata state = endOf(client.scheduleNewOrchestrationInstance(name, input));
        check(state.getRuntimeStatus(), OrchestrationRuntimeStatus.COMPLETED, name);
        return state.readOutputAs(type);
    }

    OrchestrationMetadata until(String instance, OrchestrationRuntimeStatus status) throws Exception {
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (System.nanoTime() < end) {
            OrchestrationMetadata state = client.getInstanceMetadata(instance, true);
            if (state.isInstanceFound() && state.getRuntimeStatus() == status) {
                return state;
            }
            Thread.sleep(20);
        }
        throw new AssertionError(instance + " did not become " + status);
    }

    static void check(Object actual, Object expected, String what) {
        if (!Objects.equals(actual, expected)) {
            throw new AssertionError(what + ": expected " + expected + ", got " + actual);
        }
    }

    @Override
    public void close() throws Exception {
        if (worker != null) {
            worker.stop();
        }
        channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }

    /** A program, which may fail. */
    interface Body {
        void run(Program program) throws Exception;
    }

    /** Runs a program and ends the process with what became of it: the SDK's worker has threads that do not end by themselves. */
    void run(Body body) {
        try (this) {
            worker = builder.build();
            worker.start();
            body.run(this);
        } catch (Throwable failure) {
            failure.printStackTrace();
            System.exit(1);
        }
        System.exit(0);
    }
}
