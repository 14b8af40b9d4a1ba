//! The verbs of an operator, on a hub file whose engine is stopped and on a server that runs. Each is the same on both.

mod bed;
mod entities;
mod filters;
mod refusals;
mod rewind;
mod verbs;
mod walkthrough;
