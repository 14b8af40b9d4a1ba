//! A bank: accounts that change only inside critical sections, and books that take signals.

use perdura::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What every account is opened with.
pub const OPENED_WITH: u64 = 1000;

/// An account. One that nobody has touched is as good as open.
#[derive(Debug, Serialize, Deserialize)]
pub struct Account {
    /// What is in it.
    pub cents: u64,
}

impl Default for Account {
    fn default() -> Self {
        Account { cents: OPENED_WITH }
    }
}

#[entity]
impl Account {
    /// What is in it.
    pub fn balance(&self) -> Result<u64> {
        Ok(self.cents)
    }

    /// Puts something in.
    pub fn deposit(&mut self, cents: u64) -> Result<()> {
        self.cents += cents;
        Ok(())
    }

    /// Takes something out, if it is there.
    pub fn withdraw(&mut self, cents: u64) -> Result<()> {
        self.cents = self.cents.checked_sub(cents).ok_or(Error::new("TooLittle", "not there"))?;
        Ok(())
    }
}

/// What was signaled, in the order in which it came.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Book {
    /// The lines.
    pub lines: Vec<u64>,
}

#[entity]
impl Book {
    /// Adds a line.
    pub fn note(&mut self, line: u64) -> Result<()> {
        self.lines.push(line);
        Ok(())
    }
}

/// The book in which transfers are noted.
pub const LEDGER: &str = "ledger";

/// A transfer between two accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Its number, for the ledger.
    pub number: u64,
    /// From which account.
    pub from: String,
    /// To which.
    pub to: String,
    /// How much.
    pub cents: u64,
}

/// Moves money while it holds both accounts, and notes it in the ledger. Says whether there was enough.
pub(crate) async fn transfer(ctx: &Orchestration, transfer: Transfer) -> Result<bool> {
    let Transfer { number, from, to, cents } = transfer;
    ctx.signal::<Book>(LEDGER).note(number)?;
    let _both = ctx.lock([Account::at(&from), Account::at(&to)]).await?;
    if ctx.entity::<Account>(&from).withdraw(cents).await.is_err() {
        return Ok(false);
    }
    ctx.entity::<Account>(&to).deposit(cents).await?;
    Ok(true)
}

/// The sum of some accounts while it holds them all.
pub(crate) async fn audit(ctx: &Orchestration, accounts: &[String]) -> Result<u64> {
    let _all = ctx.lock(accounts.iter().map(|account| Account::at(account))).await?;
    let balances = join_all(accounts.iter().map(|account| ctx.entity::<Account>(account).balance()));
    balances.await.into_iter().sum()
}

/// Holds accounts for a while.
pub(crate) async fn hold(ctx: &Orchestration, accounts: &[String], ms: u64) -> Result<()> {
    let _held = ctx.lock(accounts.iter().map(|account| Account::at(account))).await?;
    ctx.timer(Duration::from_millis(ms)).await
}
