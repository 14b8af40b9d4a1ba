//! Works of users in the transaction of a commit: with the batch or not at all, each for itself, and only in tables of
//! their own.

use crate::fixture::{acquire, all, commit, insert, inserts, open};
use perdura_core::Failure;
use perdura_core::failure::kind;
use perdura_core::partition::Batch;
use perdura_sqlite::{SqliteStore, Transaction};
use perdura_store::{CommitOutcome, Grant, Rejection, Transactions, Work, WorkEnd};
use tempfile::TempDir;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0)) STRICT;
    CREATE TABLE IF NOT EXISTS owner (account TEXT REFERENCES account(name) DEFERRABLE INITIALLY DEFERRED) STRICT;";

fn work(statement: &'static str) -> Work {
    Work::new(move |transaction| {
        let transaction = Transaction::of(transaction).unwrap();
        let failed = |error: rusqlite::Error| Failure::new("Sql", error.to_string());
        transaction.execute(statement, ()).map_err(failed)?;
        Ok(Some("done".into()))
    })
}

const ADA: &str = "INSERT INTO account VALUES ('ada', 100)";
const BOB: &str = "INSERT INTO account VALUES ('bob', 100)";

fn accounts(store: &SqliteStore, grant: &Grant) -> Vec<String> {
    let found = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let names = found.clone();
    let look = Work::new(move |transaction| {
        let transaction = Transaction::of(transaction).unwrap();
        let read = transaction.rows("SELECT name FROM account ORDER BY name", (), |row| row.get(0));
        *names.lock().unwrap() = read.unwrap();
        Ok(None)
    });
    store.commit_with(grant, &[look], &mut |_| None);
    found.lock().unwrap().clone()
}

struct Bed {
    dir: TempDir,
    store: SqliteStore,
    grant: Grant,
}

fn bed() -> Bed {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("hub"));
    store.define(TABLES).unwrap();
    // Each start says it again.
    store.define(TABLES).unwrap();
    let grant = acquire(&store);
    Bed { dir, store, grant }
}

impl Bed {
    /// Commits a batch of one instance with works.
    fn commit(&self, number: u64, works: &[Work]) -> (CommitOutcome, Vec<WorkEnd>) {
        let mut seen = Vec::new();
        let outcome = self.store.commit_with(&self.grant, works, &mut |ends| {
            seen = ends;
            Some(inserts([number], 10))
        });
        (outcome, seen)
    }

    fn accounts(&self) -> Vec<String> {
        accounts(&self.store, &self.grant)
    }
}

#[test]
fn works_are_committed_with_the_batch() {
    let bed = bed();
    let (outcome, ends) = bed.commit(1, &[work(ADA), work(BOB)]);
    assert_eq!((outcome, ends.len()), (CommitOutcome::Committed, 2));
    assert_eq!(ends[0], Ok(Some("done".into())));
    let Bed { dir, store, .. } = bed;
    drop(store);
    let store = open(&dir.path().join("hub"));
    assert_eq!(all(&store).len(), 1);
    assert_eq!(accounts(&store, &acquire(&store)), ["ada", "bob"]);
}

#[test]
fn works_are_gone_with_a_batch_that_is_refused() {
    let bed = bed();
    assert_eq!(bed.commit(1, &[]).0, CommitOutcome::Committed);
    // There is an instance of this key already.
    let (outcome, ends) = bed.commit(1, &[work(ADA)]);
    assert!(matches!(outcome, CommitOutcome::Rejected(Rejection::Conflict { .. })), "{outcome:?}");
    assert!(ends[0].is_ok());
    assert_eq!(bed.store.commit_with(&bed.grant, &[work(ADA)], &mut |_| None).clone(), {
        CommitOutcome::Rejected(Rejection::Failed { instance: None, what: "nothing to write".into() })
    });
    assert!(bed.accounts().is_empty());
    let ordinary = Batch { writes: vec![insert(2, 10)], ..Batch::default() };
    assert_eq!(commit(&bed.store, &bed.grant, ordinary), CommitOutcome::Committed);
}

#[test]
fn a_work_without_the_grant_does_not_even_run() {
    let bed = bed();
    acquire(&bed.store);
    let (outcome, ends) = bed.commit(1, &[work(ADA)]);
    assert_eq!((outcome, ends), (CommitOutcome::Fenced, vec![]));
}

#[test]
fn a_work_that_fails_leaves_nothing_behind_and_takes_no_other_with_it() {
    let bed = bed();
    let half = Work::new(|transaction| {
        let transaction = Transaction::of(transaction).unwrap();
        transaction.execute("INSERT INTO account VALUES ('half', 1)", ()).unwrap();
        Err(Failure::new("Refused", "no"))
    });
    let broke = work("INSERT INTO account VALUES ('broke', -1)");
    let (outcome, ends) = bed.commit(1, &[work(ADA), half, broke, work(BOB)]);
    assert_eq!(outcome, CommitOutcome::Committed);
    let failed: Vec<bool> = ends.iter().map(Result::is_err).collect();
    assert_eq!(failed, [false, true, true, false]);
    assert_eq!(bed.accounts(), ["ada", "bob"]);
}

#[test]
fn a_work_that_ends_the_transaction_takes_no_other_with_it() {
    let bed = bed();
    assert!(bed.commit(1, &[work(ADA)]).1[0].is_ok());
    let ends_it = Work::new(|transaction| {
        let transaction = Transaction::of(transaction).unwrap();
        let _ = transaction.execute("INSERT OR ROLLBACK INTO account VALUES ('ada', 1)", ());
        Ok(None)
    });
    let (outcome, ends) = bed.commit(2, &[work(BOB), ends_it]);
    assert_eq!(outcome, CommitOutcome::Committed);
    assert!(ends[0].is_ok());
    assert_eq!(ends[1].as_ref().unwrap_err().kind, kind::INVALID);
    assert_eq!(bed.accounts(), ["ada", "bob"]);
    assert_eq!(all(&bed.store).len(), 2);
}

#[test]
fn what_a_deferred_constraint_refuses_fails_the_work_that_wrote_it_and_no_other() {
    let bed = bed();
    let (orphan, owns) = ("INSERT INTO owner VALUES ('nobody')", "INSERT INTO owner VALUES ('ada')");
    let (outcome, ends) = bed.commit(1, &[work(ADA), work(orphan), work(owns), work(BOB), work(orphan)]);
    assert_eq!(outcome, CommitOutcome::Committed);
    let went_well: Vec<bool> = ends.iter().map(Result::is_ok).collect();
    assert_eq!(went_well, [true, false, true, true, false]);
    let failure = ends[1].as_ref().unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.non_retryable), (kind::INVALID, true));
    assert!(failure.message.contains("could not be committed: FOREIGN KEY"), "{failure}");
    assert_eq!(bed.accounts(), ["ada", "bob"]);
}

#[test]
fn a_work_touches_no_table_of_the_hub_and_no_setting_of_the_connection() {
    let bed = bed();
    assert!(bed.commit(1, &[work(ADA)]).1[0].is_ok());
    for statement in [
        "DELETE FROM instance",
        "SELECT count(*) FROM history",
        "SELECT * FROM main.Partition",
        "UPDATE partition SET epoch = epoch + 1",
        "INSERT INTO message VALUES (0, 0, 0, x'')",
        "DROP TABLE history",
        "ALTER TABLE instance ADD COLUMN mine",
        "CREATE INDEX mine ON instance (name)",
        "CREATE TRIGGER mine AFTER UPDATE ON instance BEGIN DELETE FROM account; END",
        "CREATE TEMP TABLE instance (key)",
        "CREATE TABLE perdura_mine (n)",
        "INSERT INTO account SELECT name, 1 FROM instance",
        "ATTACH 'other' AS other",
        "PRAGMA synchronous = OFF",
        "PRAGMA user_version = 9",
        "SAVEPOINT mine",
        "RELEASE work",
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "VACUUM",
    ] {
        let (outcome, ends) = bed.commit(100, &[work(statement)]);
        assert!(ends[0].is_err(), "{statement}: {outcome:?}");
        assert_eq!(
            bed.store.commit_with(&bed.grant, &[], &mut |_| Some(Batch {
                purge: vec![insert(100, 1).row.key],
                ..Batch::default()
            })),
            CommitOutcome::Committed
        );
    }
    for statement in [
        "CREATE TABLE mine (n INTEGER)",
        "CREATE INDEX by_n ON mine (n)",
        "ALTER TABLE mine ADD COLUMN m",
        "DROP TABLE mine",
    ] {
        let (outcome, ends) = bed.commit(100, &[work(statement)]);
        assert!(ends[0].is_ok(), "{statement}: {outcome:?} {ends:?}");
        assert_eq!(
            bed.store.commit_with(&bed.grant, &[], &mut |_| Some(Batch {
                purge: vec![insert(100, 1).row.key],
                ..Batch::default()
            })),
            CommitOutcome::Committed
        );
    }
    assert!(bed.store.define("CREATE TABLE fine (n); DELETE FROM instance").is_err());
    assert_eq!(bed.accounts(), ["ada"]);
    assert_eq!(all(&bed.store).len(), 1);
    assert_eq!(bed.store.check().unwrap(), Vec::<String>::new());
}

#[test]
fn nothing_is_written_after_a_statement_that_ended_the_transaction() {
    let bed = bed();
    let stubborn = Work::new(|transaction| {
        let transaction = Transaction::of(transaction).unwrap();
        transaction.execute(ADA, ()).unwrap();
        transaction.execute("INSERT OR ROLLBACK INTO account VALUES ('ada', 1)", ()).unwrap_err();
        let late = transaction.execute_batch(BOB).unwrap_err().to_string();
        assert!(late.contains("has ended the transaction"), "{late}");
        Ok(None)
    });
    let (outcome, ends) = bed.commit(1, &[stubborn, work("INSERT INTO account VALUES ('eve', 1)")]);
    assert_eq!(outcome, CommitOutcome::Committed);
    assert!(ends[0].as_ref().unwrap_err().message.contains("ended its transaction") && ends[1].is_ok());
    assert_eq!(bed.accounts(), ["eve"]);
}

#[test]
fn a_foreign_key_to_a_table_of_the_hub_is_refused_where_it_is_made() {
    let bed = bed();
    let keys = ["history(instance_key)", "instance(id)", "Partition(clock) DEFERRABLE INITIALLY DEFERRED"];
    for key in keys {
        let table = format!("CREATE TABLE mine (k TEXT REFERENCES {key})");
        let refusal = bed.store.define(&table).unwrap_err().to_string();
        assert!(refusal.contains("refers to a table of the hub"), "{refusal}");
    }
    let sly = work("CREATE TABLE mine (k INTEGER REFERENCES history(instance_key))");
    let (outcome, ends) = bed.commit(1, &[sly]);
    assert_eq!((outcome, &ends[0].as_ref().unwrap_err().kind[..]), (CommitOutcome::Committed, kind::INVALID));
    // The table is not there, and the hub works.
    bed.store.define("CREATE TABLE mine (k TEXT)").unwrap();
    assert_eq!(bed.commit(2, &[work(ADA)]).0, CommitOutcome::Committed);
}
