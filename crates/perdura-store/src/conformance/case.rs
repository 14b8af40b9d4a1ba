//! The list of all cases, and how they are run.

use super::block_on;
use crate::{BoxFuture, Store};

/// Where the hub of one test is: empty at first, with [`PARTITIONS`](super::PARTITIONS) partitions.
pub trait Place: Send + Sync {
    /// Opens the hub. A test closes it before it opens it again, and then finds what it committed.
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>>;
}

/// One test.
#[derive(Clone, Copy)]
pub struct Case {
    /// Which part of the contract.
    pub topic: &'static str,
    /// The behaviour, as a sentence.
    pub name: &'static str,
    /// Runs it. A violation panics.
    pub run: for<'a> fn(&'a dyn Place) -> BoxFuture<'a, ()>,
}

macro_rules! cases {
    ($($topic:ident { $($name:ident)* })*) => {
        /// All tests.
        pub const CASES: &[Case] = &[$($(Case {
            topic: stringify!($topic),
            name: stringify!($name),
            run: |place| Box::pin(super::$topic::$name(place)),
        },)*)*];

        /// Makes a `#[test]` of every case, in a module per topic. The argument is a function that gives a fresh
        /// [`Place`](crate::conformance::Place); a second one may replace
        /// [`block_on`](crate::conformance::block_on), for stores that need an executor of their own.
        #[macro_export]
        macro_rules! conformance_tests {
            ($place:path) => {
                $crate::conformance_tests!($place, $crate::conformance::block_on);
            };
            ($place:path, $block_on:path) => {
                $(mod $topic {
                    #[allow(unused_imports)]
                    use super::*;
                    $(#[test]
                    fn $name() {
                        let place = $place();
                        $block_on($crate::conformance::run(stringify!($topic), stringify!($name), &place));
                    })*
                })*
            };
        }
    };
}

cases! {
    clock {
        time_never_runs_back
        time_is_kept_when_the_hub_is_opened_again
        a_deadline_in_the_future_is_too_early
        a_deadline_is_not_past_because_the_writer_says_so
        a_deadline_in_the_past_commits
    }
    commit {
        what_is_committed_is_read_back
        an_empty_batch_commits
        a_batch_is_all_or_nothing
        an_instance_is_inserted_once
        an_id_is_taken_once
        an_update_of_nothing_is_a_conflict
        an_update_from_another_tail_is_a_conflict
        two_writes_of_one_instance_follow_each_other
        every_column_can_change
        a_key_of_another_partition_is_a_conflict
        dropping_the_future_does_not_stop_the_commit
    }
    fencing {
        epochs_rise_by_one
        an_old_grant_is_fenced
        the_same_epoch_with_another_nonce_is_fenced
        the_same_nonce_with_another_epoch_is_fenced
        a_fenced_batch_writes_nothing
        fencing_comes_before_every_other_check
        grants_of_other_partitions_are_left_alone
        a_grant_of_no_partition_is_an_error
        a_grant_survives_when_the_hub_is_opened_again
    }
    generations {
        a_new_generation_begins_at_zero
        dropping_generations_deletes_older_histories_of_that_instance_only
    }
    history {
        rows_leave_no_hole_and_do_not_overlap
        a_first_row_begins_at_zero
        an_empty_row_is_a_conflict
        a_branch_begins_at_its_cut_and_is_dense_from_there
        branches_do_not_mix
        reading_starts_with_the_row_that_holds_the_event
        reading_stops_at_the_byte_limit_but_gives_one_row
        reading_nothing_gives_nothing
    }
    limits {
        bytes_come_back_as_they_went_in
        an_empty_record_is_not_a_missing_row
        a_payload_of_four_mebibytes_is_kept
        a_thousand_writes_fit_a_batch
        the_highest_numbers_are_kept
    }
    lookups {
        answers_come_in_the_order_asked
        ids_are_compared_byte_by_byte
        odd_ids_are_kept
        the_longest_id_is_kept
    }
    messages {
        a_message_reaches_its_receiver_only
        a_consumed_message_is_gone
        a_message_is_consumed_once
        only_the_receiver_consumes
        messages_come_by_sender_and_number_in_pages
        a_number_is_sent_once
        a_sender_cannot_be_forged
        a_message_to_no_partition_is_a_conflict
        a_message_to_oneself_is_kept_for_later
        a_rejected_batch_keeps_what_it_consumed
    }
    purge {
        a_purged_instance_leaves_nothing
        a_purged_id_is_free_in_the_same_batch
        purging_nothing_is_no_error
        purging_leaves_the_neighbours
        keys_are_not_reused_after_a_purge
        message_numbers_are_not_reused_after_they_were_consumed
    }
    query {
        no_condition_lists_all
        entities_are_listed_apart
        each_condition_narrows
        conditions_combine
        prefixes_are_compared_byte_by_byte
        the_order_is_that_of_creation_and_then_of_keys
        a_page_begins_after_the_last_even_of_the_same_moment
        pages_follow_each_other
        a_changed_status_changes_the_list
        a_limit_of_zero_gives_nothing
        what_has_ended_is_listed_by_its_end_and_then_by_id
        pages_of_what_has_ended_follow_each_other
    }
    recovery {
        only_unfinished_instances_of_the_partition_are_listed
        unfinished_instances_come_by_key_in_pages
        an_ended_instance_that_begins_again_is_unfinished
        all_is_there_when_the_hub_is_opened_again
        reading_no_partition_is_an_error
    }
}

/// Runs one case.
///
/// # Panics
/// If the store breaks the contract, or there is no such case.
pub async fn run(topic: &str, name: &str, place: &dyn Place) {
    let case = CASES.iter().find(|case| case.topic == topic && case.name == name);
    (case.expect("there is such a case").run)(place).await;
}

/// Runs all cases one after the other, each in a fresh place.
///
/// # Panics
/// If the store breaks the contract.
pub fn run_all<P: Place>(fresh: impl Fn() -> P) {
    for case in CASES {
        block_on((case.run)(&fresh()));
    }
}
