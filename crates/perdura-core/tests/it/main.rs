//! The processor of a partition, driven by hand.

#![expect(clippy::unwrap_used, reason = "a test that meets an error shall stop")]

mod away;
mod bed;
mod bytes;
mod children;
mod circles;
mod commits;
mod control;
mod dead_letter;
mod deadlines;
mod doubt;
mod doubt_later;
mod entities;
mod entity_bed;
mod keys;
mod left_keys;
mod locks;
mod losses;
mod purge;
mod reminders;
mod residency;
mod results;
mod rewind;
mod rewound_branches;
mod rewound_calls;
mod starts;
mod suspects;
mod tasks;
mod turns;
