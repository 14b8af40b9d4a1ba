//! The simulation proves itself first: a seed is the whole run, and every planted bug is found.

mod meta;
mod planted;
mod seeds;
