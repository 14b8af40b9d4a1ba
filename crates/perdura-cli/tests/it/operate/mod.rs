//! The verbs of an operator, on a hub file whose engine is stopped and on a server that runs. Each is the same on both.

mod bed;
mod encrypted;
mod entities;
mod filters;
mod interrupted;
mod refusals;
mod rewind;
mod verbs;
mod walkthrough;
