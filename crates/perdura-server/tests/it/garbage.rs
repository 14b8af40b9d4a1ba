//! Requests that nobody would send: nothing is written, and everybody else is served as before.

use super::wire_bytes::{call, methods};
use super::world::*;
use perdura_proto::*;
use prost::Message;
use tonic::Code;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// Bytes that are noise, or a message with holes, or one with a field of an odd value.
    fn message(&mut self) -> Vec<u8> {
        match self.below(4) {
            0 => (0..self.below(64)).map(|_| self.below(256) as u8).collect(),
            1 => {
                // A message inside a message inside a message.
                (0..200).fold(Vec::new(), |inner, _| {
                    let mut outer = vec![0x0a];
                    prost::encoding::encode_varint(inner.len() as u64, &mut outer);
                    outer.extend(inner);
                    outer
                })
            }
            2 => {
                let mut bytes = vec![(1 + self.below(12) as u8) << 3];
                let odd = [0, 1, u64::MAX, i64::MAX as u64, 1 << 31, u64::from(u32::MAX), 1 << 62];
                prost::encoding::encode_varint(odd[self.below(odd.len())], &mut bytes);
                bytes
            }
            _ => {
                // A length that there is nothing behind, of a text that is not one.
                let mut bytes = vec![(1 + self.below(12) as u8) << 3 | 2];
                prost::encoding::encode_varint(self.below(1 << 31) as u64, &mut bytes);
                bytes.extend([0xff, 0xfe]);
                bytes
            }
        }
    }
}

#[tokio::test]
async fn noise_on_every_method_writes_nothing_and_disturbs_nobody() {
    let world = World::new().await;
    let mut worker = world.worker_with(GetWorkItemsRequest::default()).await;
    let channel = world.channel().await;
    let mut random = Random(7);
    // Those that take work off the board or remove the hub do what they are for, whatever the message.
    let harmful = ["GetWorkItems", "CreateTaskHub", "DeleteTaskHub"];
    for round in 0..25 {
        for method in methods().iter().filter(|m| !harmful.iter().any(|harmful| m.ends_with(harmful))) {
            let message = random.message();
            if let Err(status) = call(&channel, method, message.clone(), None).await {
                let fine = !matches!(status.code(), Code::Unavailable | Code::DataLoss);
                assert!(fine, "round {round}, {method}, {message:02x?}: {status}");
            }
        }
    }
    let all = world.client().await.query_instances(QueryInstancesRequest::default()).await.unwrap();
    assert!(all.into_inner().orchestration_state.is_empty());
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![complete("1")]).await.unwrap();
    assert_eq!(world.end_of("a").await.output.as_deref(), Some("1"));
}

#[tokio::test]
async fn odd_numbers_and_times_are_refused_before_anything_is_written() {
    let world = World::new().await;
    let mut client = world.client().await;
    let start = |seconds: i64, nanos: i32| CreateInstanceRequest {
        instance_id: "a".into(),
        name: "n".into(),
        scheduled_start_timestamp: Some(prost_types::Timestamp { seconds, nanos }),
        ..Default::default()
    };
    for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, i32::MAX), (253_402_300_799, 0)] {
        let refused = client.start_instance(start(seconds, nanos)).await;
        assert_eq!(code(refused), Code::InvalidArgument, "{seconds} {nanos}");
    }
    let bad_name = CreateInstanceRequest { name: "a\nb".into(), ..Default::default() };
    assert_eq!(code(client.start_instance(bad_name).await), Code::InvalidArgument);
    let tags = (0..33).map(|n| (n.to_string(), String::new())).collect();
    let many_tags = CreateInstanceRequest { name: "n".into(), tags, ..Default::default() };
    assert_eq!(code(client.start_instance(many_tags).await), Code::InvalidArgument);
    let large =
        CreateInstanceRequest { name: "n".into(), input: Some("x".repeat(5 << 20)), ..Default::default() };
    let refused = client.start_instance(large).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("limit 4194304"), "{refused}");

    let query = |query: InstanceQuery| QueryInstancesRequest { query: Some(query) };
    for bad in [
        InstanceQuery { max_instance_count: -1, ..Default::default() },
        InstanceQuery { runtime_status: vec![99], ..Default::default() },
        InstanceQuery { continuation_token: Some("nonsense".into()), ..Default::default() },
        InstanceQuery { continuation_token: Some("1.99999999999999999999".into()), ..Default::default() },
    ] {
        assert_eq!(code(client.query_instances(query(bad.clone())).await), Code::InvalidArgument, "{bad:?}");
    }
    for bad in [
        ListInstanceIdsRequest { page_size: i32::MIN, ..Default::default() },
        ListInstanceIdsRequest { last_instance_key: Some("x".into()), ..Default::default() },
    ] {
        assert_eq!(code(client.list_instance_ids(bad).await), Code::InvalidArgument);
    }
    assert_eq!(code(client.purge_instances(PurgeInstancesRequest::default()).await), Code::InvalidArgument);
    let all = client.query_instances(QueryInstancesRequest::default()).await.unwrap();
    assert!(all.into_inner().orchestration_state.is_empty());
}

#[tokio::test]
async fn an_activity_result_over_the_limit_fails_the_activity_and_does_not_hang_it() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    world.start("a", "order").await;
    let turn = worker.turn().await;
    worker.answer(&turn, vec![schedule(1, "pay")]).await.unwrap();
    let activity = worker.activity().await;
    worker.finish(&activity, &"x".repeat(5 << 20)).await.unwrap();
    let turn = worker.turn().await;
    assert_eq!(kinds(&turn.request.new_events), ["OrchestratorStarted", "TaskFailed"]);
    assert!(turn.request.encoded_len() < 10_000);
}
