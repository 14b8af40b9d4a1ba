//! Rewind. Each test is named after the report of another system's users that it answers: `dt` is Azure/durabletask,
//! `ext` Azure/azure-functions-durable-extension, `js` microsoft/durabletask-js, `mssql` microsoft/durabletask-mssql.

#[macro_use]
pub mod bed;
mod batch;
mod branches;
mod children;
mod entities;
mod failures;
mod kept;
mod points;
mod refusals;
mod restart;
mod retried;
