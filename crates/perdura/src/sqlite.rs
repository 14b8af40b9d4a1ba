//! Tables of your own in the file of an SQLite hub, and [transactional activities](crate::activity) that write to them.
//!
//! ```
//! use perdura::prelude::*;
//! use perdura::sqlite::Transaction;
//!
//! #[activity(transactional)]
//! fn deposit(tx: &Transaction<'_>, (account, cents): (String, i64)) -> Result<i64> {
//!     tx.execute("UPDATE account SET cents = cents + ?2 WHERE name = ?1", (&account, cents))?;
//!     Ok(tx.value("SELECT cents FROM account WHERE name = ?1", [&account])?)
//! }
//!
//! #[orchestration]
//! async fn salary(ctx: Orchestration, name: String) -> Result<i64> {
//!     ctx.call(deposit, (name, 1000)).await
//! }
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("shop.db");
//! let engine = Engine::sqlite(path)
//!     .tables(
//!         "CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, cents INTEGER NOT NULL);
//!          INSERT OR IGNORE INTO account VALUES ('ada', 0);",
//!     )
//!     .register(salary)
//!     .register(deposit)
//!     .start()
//!     .await?;
//! assert_eq!(engine.run(salary, "ada".into()).await?, 1000);
//! # engine.shutdown().await;
//! # Ok::<(), Error>(()) }).unwrap();
//! ```

pub use perdura_sqlite::Transaction;
pub use perdura_sqlite::rusqlite::{Connection, Error, Params, Row, ToSql, named_params, params, types};
