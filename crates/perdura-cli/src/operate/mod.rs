//! What an operator does with the instances of a hub file.

pub mod branches;
pub mod resolve;
pub mod rewind;
pub mod why;
