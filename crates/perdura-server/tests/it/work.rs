use super::world::*;
use perdura_proto::orchestrator_action::OrchestratorActionType as Action;
use perdura_proto::*;
use std::time::Duration;
use tonic::Code;

#[tokio::test]
async fn a_turn_carries_what_every_sdk_looks_for() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    let trace = TraceContext { trace_parent: "00-a-b-01".into(), ..Default::default() };
    let request = CreateInstanceRequest {
        instance_id: "a".into(),
        name: "order".into(),
        version: Some("1.0".into()),
        input: Some("{}".into()),
        // As the SDK for JavaScript says "at once".
        scheduled_start_timestamp: Some(prost_types::Timestamp::default()),
        parent_trace_context: Some(trace.clone()),
        tags: [("k".to_owned(), "v".to_owned())].into(),
        ..Default::default()
    };
    world.client().await.start_instance(request).await.unwrap();
    let turn = worker.turn().await;
    assert_eq!(kinds(&turn.request.new_events), ["OrchestratorStarted", "ExecutionStarted"]);
    assert!(turn.request.past_events.is_empty());
    assert!(turn.request.new_events[0].timestamp.as_ref().unwrap().seconds > 1_700_000_000);
    let execution = turn.request.execution_id.clone().unwrap();
    assert!(execution.len() == 32 && execution.bytes().all(|b| b.is_ascii_hexdigit()));
    let window = turn.request.entity_parameters.as_ref().unwrap().entity_message_reorder_window.as_ref();
    assert_eq!(window.unwrap().seconds, 0);
    let Some(history_event::EventType::ExecutionStarted(started)) = &turn.request.new_events[1].event_type
    else {
        panic!("{turn:?}", turn = turn.request)
    };
    let instance = started.orchestration_instance.as_ref().unwrap();
    assert_eq!((instance.instance_id.as_str(), instance.execution_id.as_ref()), ("a", Some(&execution)));
    assert_eq!(started.parent_trace_context, Some(trace));
    assert_eq!(started.scheduled_start_timestamp, None);
    assert_eq!(started.tags["k"], "v");

    let pending = world.state("a").await.unwrap();
    assert_eq!(
        pending.orchestration_status(),
        OrchestrationStatus::Pending,
        "until the first turn is recorded"
    );
    assert_eq!(pending.input.as_deref(), Some("{}"));
    let span = OrchestrationTraceContext { span_id: Some("abc".into()), ..Default::default() };
    let mut response = response(&turn, vec![schedule(0, "pay")]);
    response.orchestration_trace_context = Some(span.clone());
    response.custom_status = Some("busy".into());
    worker.client.complete_orchestrator_task(response).await.unwrap();
    let activity = worker.activity().await;
    let running = world.state("a").await.unwrap();
    assert_eq!(running.orchestration_status(), OrchestrationStatus::Running);
    assert_eq!(running.custom_status.as_deref(), Some("busy"));
    assert_eq!(activity.request.task_id, 0);
    worker.finish(&activity, "2").await.unwrap();
    let turn = worker.turn().await;
    assert_eq!(turn.request.orchestration_trace_context, Some(span));
    assert_eq!(
        kinds(&turn.request.past_events),
        ["OrchestratorStarted", "ExecutionStarted", "TaskScheduled"]
    );
    assert_eq!(kinds(&turn.request.new_events), ["OrchestratorStarted", "TaskCompleted"]);
    worker.answer(&turn, vec![complete("3")]).await.unwrap();
    let state = world.end_of("a").await;
    assert_eq!((state.output.as_deref(), state.version.as_deref()), (Some("3"), Some("1.0")));
    assert_eq!((state.execution_id, state.tags["k"].as_str()), (Some(execution), "v"));
}

#[tokio::test]
async fn what_a_lost_worker_had_goes_to_the_next_one() {
    let world = World::new().await;
    let mut first = world.worker().await;
    world.start("a", "order").await;
    first.turn().await;
    drop(first);
    let mut second = world.worker().await;
    let turn = second.turn().await;
    second.answer(&turn, vec![schedule(1, "pay")]).await.unwrap();
    second.activity().await;
    drop(second);
    let mut third = world.worker().await;
    let activity = third.activity().await;
    third.finish(&activity, "2").await.unwrap();
    let turn = third.turn().await;
    third.answer(&turn, vec![complete("3")]).await.unwrap();
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_worker_that_closed_its_stream_may_still_bring_its_result_and_the_first_one_counts() {
    let world = World::new().await;
    let mut first = world.worker().await;
    world.start("a", "order").await;
    let turn = first.turn().await;
    let Worker { client, items } = first;
    drop(items);
    let mut second = world.worker().await;
    let again = second.turn().await;
    // The first one is late, but nobody else was faster.
    let mut late = client;
    late.complete_orchestrator_task(response(&turn, vec![schedule(1, "pay")])).await.unwrap();
    assert_eq!(code(second.answer(&again, vec![complete("no")]).await), Code::NotFound);

    let by_second = second.activity().await;
    let Worker { client, items } = second;
    drop(items);
    let mut third = world.worker().await;
    let by_third = third.activity().await;
    let mut late = client;
    late.complete_activity_task(result_of(&by_second, "late")).await.unwrap();
    assert_eq!(code(third.finish(&by_third, "stale").await), Code::NotFound);
    assert_eq!(code(late.complete_activity_task(result_of(&by_second, "twice")).await), Code::NotFound);
    let turn = third.turn().await;
    let Some(history_event::EventType::TaskCompleted(done)) = &turn.request.new_events[1].event_type else {
        panic!("{:?}", turn.request)
    };
    assert_eq!(done.result.as_deref(), Some("late"));
}

#[tokio::test]
async fn old_workers_answer_without_a_token() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let mut turn = worker.turn().await;
    turn.token = String::new();
    worker.answer(&turn, vec![schedule(7, "pay")]).await.unwrap();
    let mut activity = worker.activity().await;
    activity.token = String::new();
    worker.finish(&activity, "2").await.unwrap();
    assert_eq!(code(worker.finish(&activity, "2").await), Code::NotFound);
    let mut turn = worker.turn().await;
    turn.token = String::new();
    worker.answer(&turn, vec![complete("3")]).await.unwrap();
    assert_eq!(code(worker.answer(&turn, vec![complete("3")]).await), Code::NotFound);
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("3"));
}

#[tokio::test]
async fn what_is_given_back_comes_again_unchanged_to_another_worker_first() {
    let world = World::new().await;
    let mut first = world.worker().await;
    world.start("a", "order").await;
    let turn = first.turn().await;
    let abandon = |token: &str| AbandonOrchestrationTaskRequest { completion_token: token.into() };
    first.client.abandon_task_orchestrator_work_item(abandon(&turn.token)).await.unwrap();
    let stale = first.client.abandon_task_orchestrator_work_item(abandon(&turn.token)).await;
    assert_eq!(code(stale), Code::NotFound);
    // There is nobody else, so it comes back after a while.
    let again = first.turn().await;
    assert_eq!(kinds(&again.request.new_events), kinds(&turn.request.new_events));
    let mut second = world.worker().await;
    first.client.abandon_task_orchestrator_work_item(abandon(&again.token)).await.unwrap();
    let turn = second.turn().await;
    second.answer(&turn, vec![schedule(1, "pay")]).await.unwrap();
}

#[tokio::test]
async fn an_answer_in_parts_is_taken_as_a_whole_with_the_last_one() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    for (index, id) in [1, 2].into_iter().enumerate() {
        let part = OrchestratorResponse {
            is_partial: true,
            chunk_index: Some(index as i32),
            num_events_processed: (index > 0).then_some(0),
            ..response(&turn, vec![schedule(id, "pay")])
        };
        worker.client.complete_orchestrator_task(part).await.unwrap();
        assert_eq!(world.state("a").await.unwrap().orchestration_status(), OrchestrationStatus::Pending);
    }
    let last = OrchestratorResponse {
        chunk_index: Some(2),
        num_events_processed: Some(0),
        ..response(&turn, vec![schedule(3, "pay")])
    };
    worker.client.complete_orchestrator_task(last).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(worker.activity().await.request.task_id);
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_harms_only_its_worker() {
    let world = World::new().await;
    let mut bad = world.worker().await;
    world.start("a", "order").await;
    world.start("b", "order").await;
    let (one, two) = (bad.turn().await, bad.turn().await);
    let mut good = world.worker().await;
    // For another instance, with a token of its own.
    let crossed = OrchestratorResponse {
        instance_id: two.request.instance_id.clone(),
        ..response(&one, vec![complete("stolen")])
    };
    let refused = bad.client.complete_orchestrator_task(crossed).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    let refused = bad.answer(&one, vec![OrchestratorAction::default()]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("action 0"), "{refused}");
    let guessed = Turn { token: "0".repeat(32), request: two.request.clone() };
    assert_eq!(code(bad.answer(&guessed, vec![complete("no")]).await), Code::NotFound);
    // Another worker does it right, and this one's stream still works.
    let again = good.turn().await;
    assert_eq!(again.request.instance_id, one.request.instance_id);
    good.answer(&again, vec![complete("1")]).await.unwrap();
    bad.answer(&two, vec![complete("2")]).await.unwrap();
    assert_eq!(world.end_of(&one.request.instance_id).await.output.as_deref(), Some("1"));
    assert_eq!(world.end_of(&two.request.instance_id).await.output.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_java_worker_hears_of_no_refusal_since_it_would_leave_its_stream_for_it() {
    let world = World::new().await;
    let channel = world.endpoint().user_agent("grpc-java-netty/1.66.0").unwrap().connect().await.unwrap();
    let mut client = Client::new(channel);
    let items = client.get_work_items(GetWorkItemsRequest::default()).await.unwrap().into_inner();
    let mut java = Worker { client, items };
    world.start("a", "order").await;
    let turn = java.turn().await;
    java.answer(&turn, vec![OrchestratorAction::default()]).await.unwrap();
    let again = java.turn().await;
    java.answer(&again, vec![schedule(1, "pay")]).await.unwrap();
    java.answer(&again, vec![complete("twice")]).await.unwrap();
    let activity = java.activity().await;
    java.finish(&activity, "2").await.unwrap();
    java.finish(&activity, "3").await.unwrap();
    let turn = java.turn().await;
    java.answer(&turn, vec![complete("1")]).await.unwrap();
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_failure_reaches_the_parent_with_everything_that_was_said_of_it() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("parent", "outer").await;
    let turn = worker.turn().await;
    let child = CreateSubOrchestrationAction {
        instance_id: "child".into(),
        name: "inner".into(),
        ..Default::default()
    };
    worker.answer(&turn, vec![action(5, Action::CreateSubOrchestration(child))]).await.unwrap();
    let turn = worker.turn().await;
    assert_eq!(turn.request.instance_id, "child");
    let value = prost_types::Value { kind: Some(prost_types::value::Kind::BoolValue(true)) };
    let details = TaskFailureDetails {
        error_type: "Custom.Error".into(),
        inner_failure: Some(Box::new(TaskFailureDetails {
            error_type: "Cause".into(),
            ..Default::default()
        })),
        properties: [("fatal".to_owned(), value)].into(),
        ..Default::default()
    };
    let end = CompleteOrchestrationAction {
        orchestration_status: OrchestrationStatus::Failed as i32,
        failure_details: Some(details.clone()),
        ..Default::default()
    };
    worker.answer(&turn, vec![action(-1, Action::CompleteOrchestration(end))]).await.unwrap();
    let turn = worker.turn().await;
    let Some(history_event::EventType::SubOrchestrationInstanceFailed(failed)) =
        &turn.request.new_events[1].event_type
    else {
        panic!("{:?}", turn.request)
    };
    assert_eq!((failed.task_scheduled_id, failed.failure_details.as_ref()), (5, Some(&details)));
    // Waited for: a turn may reach its worker before the batch that caused it is committed.
    assert_eq!(world.end_of("child").await.failure_details, Some(details));
    assert_eq!(world.state("child").await.unwrap().parent_instance_id.as_deref(), Some("parent"));
}

/// Gives an instance a history of three events with payloads of this size.
async fn long_history(world: &World, worker: &mut Worker, bytes: usize) {
    let mut client = world.client().await;
    for _ in 0..3 {
        let request =
            RaiseEventRequest { instance_id: "a".into(), name: "Go".into(), input: Some("x".repeat(bytes)) };
        client.raise_event(request).await.unwrap();
    }
    let mut raised = 0;
    while raised < 3 {
        let turn = worker.turn().await;
        raised += turn.request.new_events.iter().filter(|event| event.timestamp.is_some()).count();
        raised -= if turn.request.past_events.is_empty() { 2 } else { 1 };
        let actions = if raised == 3 { vec![schedule(1, "pay")] } else { vec![] };
        worker.answer(&turn, actions).await.unwrap();
    }
}

#[tokio::test]
async fn a_history_too_large_for_a_message_fails_clearly_where_nobody_can_fetch_it() {
    let world = World::with(|options| options.worker_message_bytes_max = 100_000).await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    long_history(&world, &mut worker, 30_000).await;
    let activity = worker.activity().await;
    worker.finish(&activity, &"y".repeat(20_000)).await.unwrap();
    let state = world.end_of("a").await;
    assert_eq!(state.orchestration_status(), OrchestrationStatus::Failed);
    let message = state.failure_details.unwrap().error_message;
    assert!(message.contains("100000") && message.contains("continue as new"), "{message}");
    // The worker lives.
    world.start("b", "order").await;
    assert_eq!(worker.turn().await.request.instance_id, "b");
}

#[tokio::test]
async fn a_worker_that_fetches_histories_gets_a_long_one_in_chunks() {
    let world = World::new().await;
    let request = GetWorkItemsRequest {
        capabilities: vec![WorkerCapability::HistoryStreaming as i32],
        ..Default::default()
    };
    let mut worker = world.worker_with(request).await;
    world.start("a", "order").await;
    long_history(&world, &mut worker, 1 << 20).await;
    let activity = worker.activity().await;
    worker.finish(&activity, "2").await.unwrap();
    let turn = worker.turn().await;
    assert!(turn.request.requires_history_streaming && turn.request.past_events.is_empty());
    let request = StreamInstanceHistoryRequest {
        instance_id: "a".into(),
        execution_id: turn.request.execution_id.clone(),
        for_work_item_processing: true,
    };
    let mut chunks = worker.client.stream_instance_history(request).await.unwrap().into_inner();
    let (mut events, mut count) = (Vec::new(), 0);
    while let Some(chunk) = chunks.message().await.unwrap() {
        events.extend(chunk.events);
        count += 1;
    }
    assert!(count >= 3, "{count} chunks");
    let kinds = kinds(&events);
    assert_eq!(kinds.iter().filter(|kind| *kind == "EventRaised").count(), 3);
    assert_eq!(kinds.last().map(String::as_str), Some("TaskScheduled"));
    worker.answer(&turn, vec![complete("3")]).await.unwrap();
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("3"));
}

/// A worker that fetches histories, for a server that sends it at most 100,000 bytes.
async fn fetching(world: &World) -> Worker {
    let capabilities = vec![WorkerCapability::HistoryStreaming as i32];
    world.worker_with(GetWorkItemsRequest { capabilities, ..Default::default() }).await
}

#[tokio::test]
async fn new_events_too_large_for_a_message_fail_even_where_the_history_could_be_fetched() {
    let world = World::with(|options| options.worker_message_bytes_max = 100_000).await;
    let mut worker = fetching(&world).await;
    let request = CreateInstanceRequest {
        instance_id: "a".into(),
        name: "order".into(),
        input: Some("x".repeat(100_000)),
        ..Default::default()
    };
    world.client().await.start_instance(request).await.unwrap();
    let state = world.end_of("a").await;
    assert_eq!(state.orchestration_status(), OrchestrationStatus::Failed);
    let failure = state.failure_details.unwrap();
    assert_eq!(failure.error_type, "perdura.Limit");
    assert!(failure.error_message.contains("100000"), "{failure:?}");
    // The worker lives.
    world.start("b", "order").await;
    assert_eq!(worker.turn().await.request.instance_id, "b");
}

#[tokio::test]
async fn a_history_that_has_no_room_beside_what_is_new_is_fetched() {
    let world = World::with(|options| options.worker_message_bytes_max = 100_000).await;
    let mut worker = fetching(&world).await;
    world.start("a", "order").await;
    long_history(&world, &mut worker, 15_000).await;
    let activity = worker.activity().await;
    worker.finish(&activity, &"y".repeat(70_000)).await.unwrap();
    let turn = worker.turn().await;
    assert!(turn.request.requires_history_streaming && turn.request.past_events.is_empty());
    worker.answer(&turn, vec![complete("3")]).await.unwrap();
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_shutdown_ends_the_streams_and_takes_what_workers_bring() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![schedule(1, "pay")]).await.unwrap();
    let activity = worker.activity().await;
    let World { server, directory } = world;
    let ending = tokio::spawn(server.shutdown());
    let status = worker.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    worker.finish(&activity, "2").await.unwrap();
    drop(worker);
    within(ending).await.unwrap();
    // Nobody runs the activity again.
    let hubs = directory.path().join("hubs");
    let world = World::with(|options| options.data = hubs).await;
    let mut worker = world.worker().await;
    let turn = worker.turn().await;
    assert_eq!(kinds(&turn.request.new_events), ["OrchestratorStarted", "TaskCompleted"]);
}

#[tokio::test]
async fn an_operation_that_a_worker_never_ends_fails_and_its_entity_goes_on() {
    let world = World::with(|options| options.operation_time_max = Some(Duration::from_millis(50))).await;
    let mut client = world.client().await;
    for (name, id) in [("hang", "1"), ("next", "2")] {
        let signal = SignalEntityRequest {
            instance_id: "@counter@a".into(),
            name: name.into(),
            request_id: id.into(),
            ..Default::default()
        };
        client.signal_entity(signal).await.unwrap();
    }
    let mut worker = world.worker().await;
    let mut given = async || {
        let item = worker.next().await.unwrap();
        let Some(work_item::Request::EntityRequestV2(request)) = item.request else { panic!("{item:?}") };
        let operation = |event: &HistoryEvent| match &event.event_type {
            Some(history_event::EventType::EntityOperationSignaled(signal)) => signal.operation.clone(),
            other => panic!("{other:?}"),
        };
        (item.completion_token, request.operation_requests.iter().map(operation).collect::<Vec<_>>())
    };
    let (token, operations) = given().await;
    assert_eq!(operations, ["hang"]);
    let (_, operations) = given().await;
    assert_eq!(operations, ["next"]);
    let late = EntityBatchResult { completion_token: token, ..Default::default() };
    assert_eq!(code(client.complete_entity_task(late).await), tonic::Code::NotFound);
}

#[tokio::test]
async fn the_next_generation_has_the_tags_that_it_was_given() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    let tags = |value: &str| [("stage".to_owned(), value.to_owned())].into();
    let start = CreateInstanceRequest {
        instance_id: "a".into(),
        name: "n".into(),
        tags: tags("1"),
        ..Default::default()
    };
    world.client().await.start_instance(start).await.unwrap();
    for (expected, given) in [("1", Default::default()), ("1", tags("2")), ("2", Default::default())] {
        let turn = worker.turn().await;
        let Some(history_event::EventType::ExecutionStarted(started)) =
            &turn.request.new_events[1].event_type
        else {
            panic!("{turn:?}", turn = turn.request)
        };
        assert_eq!(started.tags, tags(expected));
        let again = CompleteOrchestrationAction {
            orchestration_status: OrchestrationStatus::ContinuedAsNew as i32,
            tags: given,
            ..Default::default()
        };
        let again = orchestrator_action::OrchestratorActionType::CompleteOrchestration(again);
        worker.answer(&turn, vec![action(1, again)]).await.unwrap();
    }
}

#[tokio::test]
async fn entities_answer_programs_that_send_them_events() {
    const GUID: &str = "0a0b0c0d-0000-4000-8000-000000000001";
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    let instance = Some(OrchestrationInstance { instance_id: "@counter@a".into(), execution_id: None });
    let data = Some(format!(r#"{{"op":"add","input":"5","id":"{GUID}","parent":"a"}}"#));
    let call = SendEventAction { instance, name: "op".into(), data };
    let call = orchestrator_action::OrchestratorActionType::SendEvent(call);
    worker.answer(&turn, vec![action(0, call)]).await.unwrap();
    let item = worker.next().await.unwrap();
    let Some(work_item::Request::EntityRequestV2(batch)) = item.request else { panic!("{item:?}") };
    let Some(history_event::EventType::EntityOperationCalled(called)) =
        &batch.operation_requests[0].event_type
    else {
        panic!("{batch:?}")
    };
    assert_eq!((called.request_id.as_str(), called.operation.as_str()), (GUID, "add"));
    let success = OperationResultSuccess { result: Some("5".into()), ..Default::default() };
    let result = EntityBatchResult {
        results: vec![OperationResult { result_type: Some(operation_result::ResultType::Success(success)) }],
        entity_state: Some("5".into()),
        completion_token: item.completion_token,
        ..Default::default()
    };
    worker.client.complete_entity_task(result).await.unwrap();
    let turn = worker.turn().await;
    assert_eq!(kinds(&turn.request.past_events), ["OrchestratorStarted", "ExecutionStarted", "EventSent"]);
    let Some(history_event::EventType::EventRaised(raised)) = &turn.request.new_events[1].event_type else {
        panic!("{turn:?}", turn = turn.request)
    };
    assert_eq!((raised.name.as_str(), raised.input.as_deref()), (GUID, Some(r#"{"result":"5"}"#)));
}

#[tokio::test]
async fn a_turn_that_costs_worker_after_worker_is_a_dead_letter_and_others_go_on() {
    let world = World::with(|options| options.limits.lost_workers_max = 3).await;
    world.start("a", "order").await;
    for _ in 0..3 {
        let mut worker = world.worker().await;
        assert_eq!(worker.turn().await.request.instance_id, "a");
    }
    let mut worker = world.worker().await;
    world.start("b", "order").await;
    let turn = worker.turn().await;
    assert_eq!(turn.request.instance_id, "b");
    worker.answer(&turn, vec![complete("1")]).await.unwrap();
    world.end_of("b").await;
    let mut client = world.client().await;
    let suspended = world.state("a").await.unwrap().orchestration_status();
    assert_eq!(suspended, OrchestrationStatus::Suspended);
    let resume = ResumeRequest { instance_id: "a".into(), reason: Some("mended".into()) };
    client.resume_instance(resume).await.unwrap();
    let turn = worker.turn().await;
    assert_eq!(turn.request.instance_id, "a");
    worker.answer(&turn, vec![complete("2")]).await.unwrap();
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("2"));
}
