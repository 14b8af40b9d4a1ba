//! What most programs need: `use perdura::prelude::*;`

pub use crate::{
    ActivityContext, Either, Engine, Entity, EntityContext, Error, Orchestration, Registry, Result, Retry,
    activity, entity, join_all, orchestration, select, select_all,
};
