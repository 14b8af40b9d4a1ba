//! What most programs need: `use perdura::prelude::*;`

pub use crate::{
    ActivityContext, Either, Engine, Error, Orchestration, Registry, Result, Retry, activity, join_all,
    orchestration, select, select_all,
};
