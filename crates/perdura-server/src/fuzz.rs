//! A door for fuzzing: what becomes of the bytes of a request before anything is looked up or written.

use crate::convert::action::result_in;
use crate::convert::entity::done_in;
use crate::convert::failure::{failure_in, failure_out};
use crate::convert::time::time_in;
use crate::hub_name::HubName;
use crate::service::reuse;
use crate::work_items::Filters;
use perdura_core::history::decode_events;
use perdura_core::orchestration::decode_outcome;
use perdura_core::{EntityId, InstanceId};
use perdura_proto::*;
use prost::Message;

/// Kinds of bytes that [`request`] knows.
pub const KINDS: u8 = 10;

/// Decodes and checks bytes as a request of a kind does. Whatever they are, it must return.
pub fn request(kind: u8, bytes: &[u8]) {
    match kind % KINDS {
        0 => with(bytes, |response: OrchestratorResponse| drop(result_in(response))),
        1 => with(bytes, |result: EntityBatchResult| drop(done_in(result, 3))),
        2 => with(bytes, |start: CreateInstanceRequest| {
            let _ = InstanceId::new(&start.instance_id);
            let _ = start.scheduled_start_timestamp.map(|at| time_in("start", &at));
            let _ = reuse(start.orchestration_id_reuse_policy);
        }),
        3 => with(bytes, |work: GetWorkItemsRequest| drop(Filters::from_wire(work.work_item_filters))),
        4 => with(bytes, |response: ActivityResponse| {
            let failure = response.failure_details.map(failure_in);
            let _ = failure.map(|failure| failure_out(&failure.within_limits()));
        }),
        5 => with(bytes, |query: QueryInstancesRequest| {
            let query = query.query.unwrap_or_default();
            let _ = query.created_time_from.map(|at| time_in("from", &at));
        }),
        6 => drop(decode_outcome(bytes.to_vec().into())),
        // What only a correct checksum lets through.
        7 => drop(decode_outcome(sealed(bytes))),
        8 => drop(decode_events(sealed(bytes))),
        _ => {
            let text = String::from_utf8_lossy(bytes);
            let _ = (HubName::new(&text), EntityId::parse(&text), InstanceId::new(&text));
        }
    }
}

fn with<M: Message + Default>(bytes: &[u8], check: impl FnOnce(M)) {
    if let Ok(message) = M::decode(bytes) {
        check(message);
    }
}

/// The bytes in the form of a stored record.
fn sealed(bytes: &[u8]) -> bytes::Bytes {
    let mut record = vec![1];
    record.extend_from_slice(bytes);
    let crc = crc32fast::hash(&record);
    record.extend_from_slice(&crc.to_le_bytes());
    record.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchestrator_action::OrchestratorActionType as Action;
    use perdura_core::orchestration::{Decision, TurnOutcome, TurnResult, encode_outcome};

    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % limit
        }
    }

    /// Messages that say something, to begin with.
    fn seeds() -> Vec<Vec<u8>> {
        let at = prost_types::Timestamp { seconds: 1_764_000_000, nanos: 5 };
        let instance = Some(OrchestrationInstance { instance_id: "@counter@a".into(), execution_id: None });
        let data = Some(
            r#"{"op":"add","id":"0a0b0c0d-0000-4000-8000-000000000001","lockset":[{"name":"a","key":"b"}]}"#,
        );
        let kinds = [
            Action::ScheduleTask(ScheduleTaskAction {
                name: "pay".into(),
                version: Some("1".into()),
                ..Default::default()
            }),
            Action::CreateTimer(CreateTimerAction { fire_at: Some(at) }),
            Action::SendEvent(SendEventAction { instance, name: "op".into(), data: data.map(str::to_owned) }),
            Action::CompleteOrchestration(CompleteOrchestrationAction {
                orchestration_status: 3,
                failure_details: Some(TaskFailureDetails { error_type: "E".into(), ..Default::default() }),
                carryover_events: vec![HistoryEvent::default()],
                ..Default::default()
            }),
        ];
        let action = |kind| OrchestratorAction { id: 7, orchestrator_action_type: Some(kind) };
        let response =
            OrchestratorResponse { actions: kinds.into_iter().map(action).collect(), ..Default::default() };
        let start = CreateInstanceRequest {
            scheduled_start_timestamp: Some(at),
            orchestration_id_reuse_policy: Some(OrchestrationIdReusePolicy {
                replaceable_status: vec![0, 5],
                legacy_action: 1,
            }),
            ..Default::default()
        };
        let outcome = TurnOutcome::Done(TurnResult {
            decisions: vec![Decision::Complete(Default::default())],
            ..TurnResult::default()
        });
        let outcome = encode_outcome(outcome);
        let inner = outcome[1..outcome.len() - 4].to_vec();
        vec![
            Vec::new(),
            response.encode_to_vec(),
            start.encode_to_vec(),
            outcome.to_vec(),
            inner,
            b"@counter@a".to_vec(),
        ]
    }

    #[test]
    fn no_bytes_make_decoding_or_checking_panic() {
        let mut random = Random(20_261_121);
        let seeds = seeds();
        for _ in 0..20_000 {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            for _ in 0..random.below(8) {
                let at = random.below(bytes.len() + 1);
                match random.below(4) {
                    0 => bytes.insert(at, random.below(256) as u8),
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    2 => bytes.truncate(at),
                    _ if at < bytes.len() => bytes[at] = random.below(256) as u8,
                    _ => bytes.extend_from_within(..at / 2),
                }
            }
            for kind in 0..KINDS {
                request(kind, &bytes);
            }
        }
    }
}
