use super::world::*;
use perdura_proto::*;
use std::time::Duration;
use tonic::{Code, Request};

fn get(id: &str) -> GetInstanceRequest {
    GetInstanceRequest { instance_id: id.into(), get_inputs_and_outputs: false }
}

#[tokio::test]
async fn what_does_not_exist_is_said_as_the_sdks_expect_it() {
    let world = World::new().await;
    let mut client = world.client().await;
    assert!(!client.get_instance(get("x")).await.unwrap().into_inner().exists);
    assert!(!client.wait_for_instance_start(get("x")).await.unwrap().into_inner().exists);
    assert!(!client.wait_for_instance_completion(get("x")).await.unwrap().into_inner().exists);
    let raise = RaiseEventRequest { instance_id: "x".into(), name: "Go".into(), ..Default::default() };
    assert_eq!(code(client.raise_event(raise).await), Code::NotFound);
    let terminate = TerminateRequest { instance_id: "x".into(), ..Default::default() };
    assert_eq!(code(client.terminate_instance(terminate).await), Code::NotFound);
    let restart = RestartInstanceRequest { instance_id: "x".into(), restart_with_new_instance_id: false };
    assert_eq!(code(client.restart_instance(restart).await), Code::NotFound);
    let history = StreamInstanceHistoryRequest { instance_id: "x".into(), ..Default::default() };
    assert_eq!(code(client.stream_instance_history(history).await.map(drop)), Code::NotFound);
    let purge = PurgeInstancesRequest {
        request: Some(purge_instances_request::Request::InstanceId("x".into())),
        recursive: true,
        ..Default::default()
    };
    let purged = client.purge_instances(purge).await.unwrap().into_inner();
    assert_eq!((purged.deleted_instance_count, purged.is_complete), (0, Some(true)));
}

#[tokio::test]
async fn the_purge_of_an_entity_counts_it_if_it_exists() {
    let world = World::new().await;
    let (mut client, mut worker) = (world.client().await, world.worker().await);
    let signal =
        SignalEntityRequest { instance_id: "@log@a".into(), name: "add".into(), ..Default::default() };
    client.signal_entity(signal).await.unwrap();
    let success = operation_result::ResultType::Success(OperationResultSuccess::default());
    let done = EntityBatchResult {
        results: vec![OperationResult { result_type: Some(success) }],
        entity_state: Some("1".into()),
        completion_token: worker.next().await.unwrap().completion_token,
        ..Default::default()
    };
    worker.client.complete_entity_task(done).await.unwrap();
    let one = purge_instances_request::Request::InstanceId("@never@seen".into());
    let ids = vec!["@never@seen".into(), "@log@a".into(), "@log@b".into()];
    let batch = purge_instances_request::Request::InstanceBatch(InstanceBatch { instance_ids: ids });
    for (request, count) in [(one, 0), (batch.clone(), 1), (batch, 0)] {
        let purge = PurgeInstancesRequest { request: Some(request), ..Default::default() };
        let purged = client.purge_instances(purge).await.unwrap().into_inner();
        assert_eq!(purged.deleted_instance_count, count);
    }
}

#[tokio::test]
async fn a_page_token_is_good_for_its_hub_only() {
    let world = World::new().await;
    let mut client = world.client().await;
    world.start("a", "order").await;
    world.start("b", "order").await;
    let query = |token: Option<String>, hub: &'static str| {
        let query = InstanceQuery { max_instance_count: 1, continuation_token: token, ..Default::default() };
        let mut request = Request::new(QueryInstancesRequest { query: Some(query) });
        request.metadata_mut().insert("taskhub", hub.parse().unwrap());
        request
    };
    let page = client.query_instances(query(None, "default")).await.unwrap().into_inner();
    let token = page.continuation_token.unwrap();
    let elsewhere = client.query_instances(query(Some(token.clone()), "other")).await;
    assert_eq!(code(elsewhere), Code::InvalidArgument);
    let altered = client.query_instances(query(Some(format!("{token}x")), "default")).await;
    assert_eq!(code(altered), Code::InvalidArgument);
    let page = client.query_instances(query(Some(token.clone()), "default")).await.unwrap().into_inner();
    assert_eq!(page.orchestration_state[0].instance_id, "b");

    let query = EntityQuery { continuation_token: Some(token), ..Default::default() };
    let mut request = Request::new(QueryEntitiesRequest { query: Some(query) });
    request.metadata_mut().insert("taskhub", "other".parse().unwrap());
    assert_eq!(code(client.query_entities(request).await), Code::InvalidArgument);
}

#[tokio::test]
async fn an_id_that_is_taken_is_refused_in_the_words_that_go_looks_for() {
    let world = World::new().await;
    world.start("a", "order").await;
    let request =
        CreateInstanceRequest { instance_id: "a".into(), name: "order".into(), ..Default::default() };
    let refused = world.client().await.start_instance(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("orchestration instance already exists"), "{refused}");
    let policy = OrchestrationIdReusePolicy {
        replaceable_status: vec![OrchestrationStatus::Pending as i32, OrchestrationStatus::Terminated as i32],
        legacy_action: 0,
    };
    let replace = CreateInstanceRequest { orchestration_id_reuse_policy: Some(policy), ..request };
    let before = world.state("a").await.unwrap().execution_id;
    world.client().await.start_instance(replace).await.unwrap();
    assert_ne!(world.state("a").await.unwrap().execution_id, before);
}

#[tokio::test]
async fn an_instance_without_an_id_gets_32_hex_digits_and_bad_ids_are_refused() {
    let world = World::new().await;
    let mut client = world.client().await;
    let request = CreateInstanceRequest { name: "order".into(), ..Default::default() };
    let id = client.start_instance(request).await.unwrap().into_inner().instance_id;
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    for bad in ["a\0", "@counter@a", "__x", &"x".repeat(513)] {
        let request =
            CreateInstanceRequest { instance_id: bad.into(), name: "order".into(), ..Default::default() };
        assert_eq!(code(client.start_instance(request).await), Code::InvalidArgument, "{bad:?}");
        assert_eq!(code(client.get_instance(get(bad)).await), Code::InvalidArgument, "{bad:?}");
    }
    assert_eq!(code(client.get_instance(get("")).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_wait_without_a_deadline_ends_with_the_instance_and_one_with_a_deadline_at_it() {
    let world = World::new().await;
    world.start("a", "order").await;
    let mut client = world.client().await;
    let mut request = Request::new(get("a"));
    request.set_timeout(Duration::from_millis(50));
    let late = client.wait_for_instance_completion(request).await.unwrap_err();
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late}");
    let waiting = tokio::spawn({
        let mut client = world.client().await;
        async move { client.wait_for_instance_completion(get("a")).await }
    });
    let mut worker = world.worker().await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![complete("1")]).await.unwrap();
    let ended = within(waiting).await.unwrap().unwrap().into_inner().orchestration_state.unwrap();
    assert_eq!(ended.orchestration_status(), OrchestrationStatus::Completed);
    assert_eq!((ended.output, ended.input), (None, None), "they were not asked for");
}

#[tokio::test]
async fn hubs_do_not_see_each_other_and_a_deleted_one_begins_empty() {
    let world = World::new().await;
    let mut client = world.client().await;
    fn on<T>(hub: &'static str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("taskhub", hub.parse().unwrap());
        request
    }
    let start = || CreateInstanceRequest { instance_id: "a".into(), name: "n".into(), ..Default::default() };
    client.start_instance(on("one", start())).await.unwrap();
    client.start_instance(on("Two", start())).await.unwrap();
    assert!(client.get_instance(on("one", get("a"))).await.unwrap().into_inner().exists);
    assert!(client.get_instance(on("two", get("a"))).await.unwrap().into_inner().exists);
    assert!(
        !client.get_instance(get("a")).await.unwrap().into_inner().exists,
        "the default hub is another one"
    );
    assert_eq!(code(client.hello(on("../x", ())).await), Code::InvalidArgument);
    let recreate = CreateTaskHubRequest { recreate_if_exists: true };
    within(client.create_task_hub(on("one", recreate))).await.unwrap();
    assert!(!client.get_instance(on("one", get("a"))).await.unwrap().into_inner().exists);
    assert!(client.get_instance(on("two", get("a"))).await.unwrap().into_inner().exists);
    client.delete_task_hub(on("two", DeleteTaskHubRequest {})).await.unwrap();
    assert!(!world.directory.path().join("hubs/two.db").exists());
}

#[tokio::test]
async fn there_are_no_more_hubs_than_allowed() {
    let world = World::with(|options| options.hubs_max = 2).await;
    let mut client = world.client().await;
    for (hub, allowed) in [("a", true), ("b", false), ("a", true), ("default", true)] {
        let mut request = Request::new(());
        request.metadata_mut().insert("taskhub", hub.parse().unwrap());
        let answer = client.hello(request).await;
        assert_eq!(answer.is_ok(), allowed, "{hub}: {answer:?}");
    }
}

#[tokio::test]
async fn what_a_termination_says_is_the_output_however_long_it_is() {
    let world = World::new().await;
    let mut client = world.client().await;
    for output in ["\"two\nlines\"".to_owned(), "x".repeat(100_000)] {
        world.start("a", "order").await;
        let terminate =
            TerminateRequest { instance_id: "a".into(), output: Some(output.clone()), recursive: false };
        client.terminate_instance(terminate).await.unwrap();
        assert_eq!(world.end_of("a").await.output, Some(output));
    }
    let large = Some("x".repeat(5 << 20));
    world.start("b", "order").await;
    let terminate = TerminateRequest { instance_id: "b".into(), output: large, recursive: false };
    assert_eq!(code(client.terminate_instance(terminate).await), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_client_signals_entities_with_ids_of_a_moderate_length() {
    let world = World::new().await;
    let client = world.client().await;
    let signal = |key: usize| {
        let instance_id = format!("@counter@{}", "k".repeat(key));
        let request = SignalEntityRequest { instance_id, name: "add".into(), ..Default::default() };
        let mut client = client.clone();
        async move { client.signal_entity(request).await }
    };
    signal(91).await.unwrap();
    let refused = signal(92).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("length is 101"), "{refused}");
}

#[tokio::test]
async fn entities_are_queried_over_several_pages() {
    let world = World::new().await;
    let mut client = world.client().await;
    let ids: Vec<String> = (0..11).map(|n| format!("@counter@{n:02}")).collect();
    for id in &ids {
        let request =
            SignalEntityRequest { instance_id: id.clone(), name: "add".into(), ..Default::default() };
        client.signal_entity(request).await.unwrap();
    }
    for include_state in [false, true] {
        let (mut found, mut token, mut pages) = (Vec::new(), None, 0);
        loop {
            let query = EntityQuery {
                instance_id_starts_with: Some("@counter@".into()),
                include_state,
                include_transient: true,
                page_size: Some(3),
                continuation_token: token,
                ..Default::default()
            };
            let request = QueryEntitiesRequest { query: Some(query) };
            let page = client.query_entities(request).await.unwrap().into_inner();
            assert!(page.entities.len() <= 3);
            found.extend(page.entities.into_iter().map(|entity| entity.instance_id));
            pages += 1;
            token = page.continuation_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!((found.as_slice(), pages), (&ids[..], 4), "with state: {include_state}");
    }
}

#[tokio::test]
async fn health_and_reflection_tell_what_is_served() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
    let world = World::new().await;
    let mut health = HealthClient::new(world.channel().await);
    for service in ["", "TaskHubSidecarService"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(status, ServingStatus::Serving as i32, "{service:?}");
    }
    let mut reflection = ServerReflectionClient::new(world.channel().await);
    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers =
        reflection.server_reflection_info(futures_util::stream::iter([ask])).await.unwrap().into_inner();
    let answer: ServerReflectionResponse = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"TaskHubSidecarService".to_owned()), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_client_may_draw_the_id_of_the_run_itself_once() {
    let world = World::new().await;
    let mut client = world.client().await;
    let start = |execution: &str| CreateInstanceRequest {
        instance_id: "a".into(),
        name: "n".into(),
        execution_id: Some(execution.into()),
        ..Default::default()
    };
    let run = "0123456789abcdef0123456789abcdef";
    client.start_instance(start(run)).await.unwrap();
    assert_eq!(world.state("a").await.unwrap().execution_id.as_deref(), Some(run));
    client
        .terminate_instance(TerminateRequest { instance_id: "a".into(), ..Default::default() })
        .await
        .unwrap();
    world.end_of("a").await;
    client.start_instance(start("01234567-89ab-cdef-0123-456789abcdef")).await.unwrap();
    assert_ne!(
        world.state("a").await.unwrap().execution_id.as_deref(),
        Some(run),
        "answers to the first run are not for the second"
    );
    for bad in ["x", "0123456789abcdef0123456789abcdefff", "+123456789abcdef0123456789abcdef"] {
        assert_eq!(code(client.start_instance(start(bad)).await), Code::InvalidArgument, "{bad}");
    }
}
