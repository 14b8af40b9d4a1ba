//! Statements of users on the connection that writes: what they may touch, and for how long.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::FromSql;
use rusqlite::{Connection, ErrorCode, Params, Result, Row, ffi};
use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tables of the hub. Tables that a later version adds begin with [`RESERVED`].
const HUB_TABLES: [&str; 4] = ["partition", "instance", "history", "message"];
/// What no table of a user begins with.
const RESERVED: &str = "perdura_";
/// The table of delivery tokens (`DeliveryToken::TABLE`) is the user's.
const FENCE: &str = "perdura_fence";
/// How long the statements of one activity may take: nothing else is committed meanwhile.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Steps of SQLite's machine between two looks at the clock.
const STEPS_PER_LOOK: i32 = 10_000;

/// The transaction that the completion of an activity is part of. What is written by it is committed together with the
/// completion, or not at all.
///
/// It reads and writes the tables of the user in the file of the hub, and makes such tables. It does not begin or end
/// transactions, set pragmas, attach files, or make temporary objects; and the hub's own tables (`partition`, `instance`,
/// `history`, `message`, and every name that begins with `perdura_`) are not its business: such statements are refused.
/// All statements of one activity may take ten seconds.
#[derive(Clone, Copy)]
pub struct Transaction<'a> {
    connection: &'a Connection,
    /// It belongs to a hub, and must not go on by itself once the transaction is gone.
    is_of_hub: bool,
}

impl<'a> Transaction<'a> {
    /// For unit tests of activities: the same on any connection, without the rules.
    #[must_use]
    pub fn on(connection: &'a Connection) -> Transaction<'a> {
        Transaction { connection, is_of_hub: false }
    }

    /// What this store gives to a [`Work`](perdura_store::Work); `None` if it is that of another store.
    #[must_use]
    pub fn of(given: &'a dyn Any) -> Option<Transaction<'a>> {
        given.downcast_ref().map(|connection| Transaction { connection, is_of_hub: true })
    }

    /// A statement can end the transaction (`INSERT OR ROLLBACK`, a full disk, too long a time). What follows it would be
    /// committed by itself.
    fn connection(&self) -> Result<&'a Connection> {
        if self.is_of_hub && self.connection.is_autocommit() {
            let why = "a statement before this one has ended the transaction of the activity: nothing of it is kept";
            let code = ffi::Error::new(ffi::SQLITE_ABORT);
            return Err(rusqlite::Error::SqliteFailure(code, Some(why.to_owned())));
        }
        Ok(self.connection)
    }

    /// Runs a statement and says how many rows it changed.
    pub fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.connection()?.execute(sql, params)
    }

    /// Runs several statements without parameters.
    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        self.connection()?.execute_batch(sql)
    }

    /// The first row of a query; [`QueryReturnedNoRows`](rusqlite::Error::QueryReturnedNoRows) if there is none.
    pub fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.connection()?.query_row(sql, params, read)
    }

    /// The first column of the first row of a query.
    pub fn value<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<T> {
        self.row(sql, params, |row| row.get(0))
    }

    /// All rows of a query.
    pub fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.connection()?.prepare(sql)?.query_map(params, read)?.collect()
    }

    /// The row id of the last insert.
    #[must_use]
    pub fn last_insert_rowid(&self) -> i64 {
        self.connection.last_insert_rowid()
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transaction")
    }
}

/// Whether statements of a user are running, shared with the hooks of the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guest(Arc<State>);

#[derive(Debug, Default)]
struct State {
    inside: AtomicBool,
    until: Mutex<Option<Instant>>,
    overdue: AtomicBool,
    /// A table was made or changed.
    makes_tables: AtomicBool,
    /// The next commit is one that shall not happen.
    tries: AtomicBool,
}

impl Guest {
    /// Sets the hooks of a connection. The hub's own statements are prepared outside, and not asked about.
    pub(crate) fn watch(&self, connection: &mut Connection) -> Result<()> {
        let state = self.0.clone();
        connection.authorizer(Some(move |asked: AuthContext<'_>| {
            if !state.inside.load(Ordering::Acquire) {
                return Authorization::Allow;
            }
            if matches!(asked.action, AuthAction::CreateTable { .. } | AuthAction::AlterTable { .. }) {
                state.makes_tables.store(true, Ordering::Release);
            }
            // Many short statements take long, too.
            if may(&asked) && !state.is_overdue() { Authorization::Allow } else { Authorization::Deny }
        }))?;
        let state = self.0.clone();
        connection.commit_hook(Some(move || state.tries.load(Ordering::Acquire)))?;
        let state = self.0.clone();
        connection.progress_handler(STEPS_PER_LOOK, Some(move || state.is_overdue()))
    }

    /// Runs statements of an activity. Says also whether they took too long.
    pub(crate) fn enter<T>(&self, run: impl FnOnce() -> T) -> (T, bool) {
        self.enter_until(Some(Instant::now() + TIME_MAX), run)
    }

    /// Runs the statements that make tables, before the hub works: they may take their time.
    pub(crate) fn define<T>(&self, run: impl FnOnce() -> T) -> T {
        self.enter_until(None, run).0
    }

    fn enter_until<T>(&self, until: Option<Instant>, run: impl FnOnce() -> T) -> (T, bool) {
        let leaves = Leaves(&self.0);
        *self.0.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        self.0.overdue.store(false, Ordering::Release);
        self.0.makes_tables.store(false, Ordering::Release);
        self.0.inside.store(true, Ordering::Release);
        let done = run();
        let is_overdue = self.0.is_overdue() || self.0.overdue.load(Ordering::Acquire);
        drop(leaves);
        (done, is_overdue)
    }

    /// Looks whether a constraint that SQLite checks at the commit stands against it, and gives what it says. The
    /// transaction is rolled back in any case.
    pub(crate) fn try_commit(&self, connection: &Connection) -> Result<Option<String>> {
        self.0.tries.store(true, Ordering::Release);
        let tried = connection.execute_batch("COMMIT");
        self.0.tries.store(false, Ordering::Release);
        // A constraint leaves the transaction open; the hook has ended it.
        let is_refused = !connection.is_autocommit();
        if is_refused {
            connection.execute_batch("ROLLBACK")?;
        }
        match tried {
            Err(error) if error.sqlite_error_code() != Some(ErrorCode::ConstraintViolation) => Err(error),
            Err(error) if is_refused => Ok(Some(error.to_string())),
            _ => Ok(None),
        }
    }

    /// Whether the statements have made a table with a foreign key to one of the hub's, which would have a say in what the
    /// hub writes.
    pub(crate) fn refers_to_hub(&self, connection: &Connection) -> Result<bool> {
        if !self.0.makes_tables.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let mut tables = connection.prepare(
            "SELECT f.\"table\" FROM sqlite_schema AS m JOIN pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table'",
        )?;
        let mut named = tables.query_map((), |row| row.get::<_, String>(0))?;
        named.try_fold(false, |found, name| Ok(found || !is_free(&name?)))
    }
}

/// Also after a panic.
struct Leaves<'a>(&'a State);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.inside.store(false, Ordering::Release);
    }
}

impl State {
    fn is_overdue(&self) -> bool {
        if !self.inside.load(Ordering::Acquire) {
            return false;
        }
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = until.is_some_and(|until| Instant::now() > until);
        self.overdue.fetch_or(overdue, Ordering::AcqRel);
        overdue
    }
}

pub(crate) fn overdue() -> String {
    format!(
        "the statements of the activity took longer than {} s, during which the whole hub waits: do less at once",
        TIME_MAX.as_secs()
    )
}

/// Whether a user may do this. What is not known is refused.
fn may(asked: &AuthContext<'_>) -> bool {
    use AuthAction::*;
    if asked.database_name.is_some_and(|name| name != "main") {
        return false;
    }
    match &asked.action {
        Select | Recursive | Function { .. } => true,
        Read { table_name, .. }
        | Insert { table_name }
        | Update { table_name, .. }
        | Delete { table_name }
        | CreateTable { table_name }
        | CreateIndex { table_name, .. }
        | CreateTrigger { table_name, .. }
        | AlterTable { table_name, .. }
        | DropTable { table_name }
        | DropIndex { table_name, .. }
        | DropTrigger { table_name, .. } => is_free(table_name),
        CreateView { view_name } | DropView { view_name } => is_free(view_name),
        // An index that is made is filled by this.
        Reindex { .. } => true,
        _ => false,
    }
}

fn is_free(table: &str) -> bool {
    let starts = table.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED));
    let is_reserved = starts && !table.eq_ignore_ascii_case(FENCE);
    !is_reserved && !HUB_TABLES.iter().any(|hub| hub.eq_ignore_ascii_case(table))
}
