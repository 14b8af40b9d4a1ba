//! Each planted bug breaks the contract, and the suite notices.

use super::conformance::fresh;
use perdura_store::conformance::{block_on, run};
use perdura_store::sim::StoreBug;
use std::panic::catch_unwind;

#[test]
fn the_suite_finds_every_planted_bug() {
    for bug in StoreBug::ALL {
        let (topic, name) = match bug {
            StoreBug::NoFence => ("fencing", "an_old_grant_is_fenced"),
            StoreBug::NonceIgnored => ("fencing", "the_same_epoch_with_another_nonce_is_fenced"),
            StoreBug::TornBatch => ("commit", "a_batch_is_all_or_nothing"),
            StoreBug::NoTailCheck => ("commit", "an_update_from_another_tail_is_a_conflict"),
            StoreBug::InboxConsumedTwice => ("messages", "a_message_is_consumed_once"),
        };
        let passed = catch_unwind(|| {
            let place = fresh();
            place.0.plant(bug);
            block_on(run(topic, name, &place));
        });
        assert!(passed.is_err(), "{bug:?} was not noticed by {topic}::{name}");
    }
}
