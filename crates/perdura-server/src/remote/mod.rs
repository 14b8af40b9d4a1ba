//! The engine's side of remote workers: turns and activities go to the board of the hub, and come back from there.

mod activities;
mod orchestrations;

pub(crate) use activities::RemoteActivities;
pub(crate) use orchestrations::RemoteOrchestrations;
