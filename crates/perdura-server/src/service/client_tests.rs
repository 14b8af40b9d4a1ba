use super::*;
use tonic::Code;

fn policy(statuses: &[OrchestrationStatus], legacy_action: i32) -> Option<OrchestrationIdReusePolicy> {
    let replaceable_status = statuses.iter().map(|status| *status as i32).collect();
    Some(OrchestrationIdReusePolicy { replaceable_status, legacy_action })
}

#[test]
fn without_a_policy_what_has_ended_is_replaced_and_what_runs_is_not() {
    let reuse = reuse(None).unwrap();
    for status in InstanceStatus::ALL {
        let expected = if status.is_terminal() { OnExisting::Replace } else { OnExisting::Fail };
        assert_eq!(reuse.on(status), expected, "{status}");
    }
}

#[test]
fn a_policy_lists_what_may_be_replaced_and_an_empty_one_allows_nothing() {
    use OrchestrationStatus::*;
    let only_failed = reuse(policy(&[Failed], 0)).unwrap();
    assert_eq!(only_failed.on(InstanceStatus::Failed), OnExisting::Replace);
    assert_eq!(only_failed.on(InstanceStatus::Completed), OnExisting::Fail);
    assert_eq!(reuse(policy(&[], 0)).unwrap(), ReusePolicy::FAIL);
    let running = reuse(policy(&[Running, Terminated], 0)).unwrap();
    assert_eq!(running.on(InstanceStatus::Running), OnExisting::Replace);
    for active in [Running, Pending, Suspended] {
        let refused = reuse(policy(&[active, Completed], 0)).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("cannot exclude 'Terminated'"), "{refused}");
    }
}

#[test]
fn old_go_clients_mean_the_same_list_differently() {
    use OrchestrationStatus::*;
    let ignore = reuse(policy(&[Running, Completed], 1)).unwrap();
    assert_eq!(ignore.on(InstanceStatus::Running), OnExisting::UseExisting);
    assert_eq!(ignore.on(InstanceStatus::Failed), OnExisting::Fail);
    let terminate = reuse(policy(&[Running], 2)).unwrap();
    assert_eq!(terminate.on(InstanceStatus::Running), OnExisting::Replace);
    assert_eq!(reuse(policy(&[], 3)).unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn numbers_that_are_no_status_are_refused() {
    assert_eq!(status_in(7).unwrap(), Some(InstanceStatus::Suspended));
    assert_eq!(status_in(2).unwrap(), None);
    for number in [-1, 8, 256, i32::MIN, i32::MAX] {
        assert_eq!(status_in(number).unwrap_err().code(), Code::InvalidArgument, "{number}");
    }
}
