//! A ledger in the file of the hub: each booking and the completion of the step that made it are committed together, so
//! a crash at any moment neither loses nor repeats one.
//!
//! Run it with `cargo run -p perdura-examples --bin ledger`. Kill it at any moment and run it again: the books balance, and
//! every payment is booked once. Look into the tables with `sqlite3 ledger.db`.

use perdura::ReusePolicy;
use perdura::prelude::*;
use perdura::sqlite::{Connection, Transaction};

/// Made at each start, unless they are there.
pub const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0)) STRICT;
    CREATE TABLE IF NOT EXISTS booking (id INTEGER PRIMARY KEY, payer TEXT, payee TEXT, cents INTEGER) STRICT;
    INSERT OR IGNORE INTO account VALUES ('shop', 0), ('ada', 5000), ('bob', 200);";

/// Books a payment and gives its number. If it fails, nothing of it is booked.
#[activity(transactional)]
pub fn book(tx: &Transaction<'_>, (payer, payee, cents): (String, String, i64)) -> Result<i64> {
    let has: i64 = tx.value("SELECT cents FROM account WHERE name = ?1", [&payer])?;
    if has < cents {
        return Err(Error::permanent(Error::new("TooLittle", format!("{payer} has only {has} cents"))));
    }
    for (name, change) in [(&payer, -cents), (&payee, cents)] {
        tx.execute("UPDATE account SET cents = cents + ?2 WHERE name = ?1", (name, change))?;
    }
    tx.execute("INSERT INTO booking (payer, payee, cents) VALUES (?1, ?2, ?3)", (&payer, &payee, cents))?;
    Ok(tx.last_insert_rowid())
}

/// Three purchases, one after the other; one that cannot be paid is left out.
#[orchestration]
pub async fn shopping(ctx: Orchestration, who: String) -> Result<u32> {
    let mut paid = 0;
    for cents in [150, 40, 60] {
        match ctx.call(book, (who.clone(), "shop".into(), cents)).await {
            Ok(_) => paid += 1,
            Err(error) if error.kind() == "TooLittle" => {}
            Err(error) => return Err(error),
        }
    }
    Ok(paid)
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("ledger.db").tables(TABLES).register(shopping).register(book);
    let engine = engine.start().await?;
    for who in ["ada", "bob"] {
        let started = engine
            .start(shopping, who.into())
            .id(format!("shopping of {who}"))
            .reuse(ReusePolicy::USE_EXISTING)
            .await?;
        println!("{who} paid {} times", started.wait().await?);
    }
    engine.shutdown().await;
    // The tables are yours: any program can read them, also while the hub is open.
    let reader = Connection::open("ledger.db")?;
    let sum: i64 = reader.query_row("SELECT sum(cents) FROM account", (), |row| row.get(0))?;
    let bookings: u32 = reader.query_row("SELECT count(*) FROM booking", (), |row| row.get(0))?;
    println!("{bookings} bookings, {sum} cents in all accounts");
    Ok(())
}
