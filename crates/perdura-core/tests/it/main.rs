//! The processor of a partition, driven by hand.

mod bed;
mod children;
mod commits;
mod control;
mod starts;
mod tasks;
mod turns;
