//! Bank transfer: two accounts change together, or not at all, and nobody sees them in between.
//!
//! Run it with `cargo run -p perdura-examples --bin bank_transfer`.

use perdura::prelude::*;
use serde::{Deserialize, Serialize};

/// An account.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// `None`: it was not opened.
    pub cents: Option<u64>,
}

#[entity]
impl Account {
    /// Opens it with what is in it. An account that is open is left alone.
    pub fn open(&mut self, cents: u64) -> Result<()> {
        self.cents.get_or_insert(cents);
        Ok(())
    }

    /// What is in it.
    pub fn balance(&self) -> Result<u64> {
        self.cents.ok_or(Error::new("NoAccount", "there is no such account"))
    }

    /// Puts something in.
    pub fn deposit(&mut self, cents: u64) -> Result<()> {
        self.cents = Some(self.balance()? + cents);
        Ok(())
    }

    /// Takes something out, if it is there. An operation that fails leaves no trace.
    pub fn withdraw(&mut self, cents: u64) -> Result<()> {
        let left = self.balance()?.checked_sub(cents);
        self.cents = Some(left.ok_or(Error::new("TooLittle", format!("{cents} cents are not there")))?);
        Ok(())
    }
}

/// From whom, to whom, how much.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// The key of an account.
    pub from: String,
    /// That of another.
    pub to: String,
    /// How much.
    pub cents: u64,
}

/// Moves money. It holds both accounts meanwhile: whoever else wants one of them waits, and so does every other signal or
/// call to them. However it ends, they are released.
#[orchestration]
pub async fn transfer(ctx: Orchestration, transfer: Transfer) -> Result<()> {
    let Transfer { from, to, cents } = transfer;
    let both = ctx.lock([Account::at(&from), Account::at(&to)]).await?;
    // Looked at first: what a withdrawal has taken would have to be put back if nobody can get it.
    ctx.entity::<Account>(&to).balance().await?;
    ctx.entity::<Account>(&from).withdraw(cents).await?;
    ctx.entity::<Account>(&to).deposit(cents).await?;
    both.unlock();
    Ok(())
}

/// The sum of some accounts at one moment: while it holds them all, no transfer is half done.
#[orchestration]
pub async fn audit(ctx: Orchestration, accounts: Vec<String>) -> Result<u64> {
    let _all = ctx.lock(accounts.iter().map(|account| Account::at(account))).await?;
    let balances = join_all(accounts.iter().map(|account| ctx.entity::<Account>(account).balance())).await;
    balances.into_iter().sum()
}

/// What all the accounts of the program are opened with.
pub const OPENED_WITH: u64 = 1000;

/// The keys of so many accounts.
pub fn accounts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("account-{n}")).collect()
}

/// The `n`th of many transfers, some of more than there is.
pub fn nth_transfer(n: usize, accounts: &[String]) -> Transfer {
    let from = n * 7 % accounts.len();
    let to = (from + 1 + n % (accounts.len() - 1)) % accounts.len();
    let key = |n: usize| accounts[n].clone();
    Transfer { from: key(from), to: key(to), cents: (n as u64 * 37) % (OPENED_WITH / 2) }
}

#[tokio::main]
async fn main() -> Result<()> {
    let engine = Engine::sqlite("bank_transfer.db").entity::<Account>().register(transfer).register(audit);
    let engine = engine.start().await?;
    let accounts = accounts(10);
    for account in &accounts {
        engine.signal::<Account>(account).open(OPENED_WITH).await?;
    }
    let mut transfers = Vec::new();
    for n in 0..1000 {
        transfers.push(engine.start(transfer, nth_transfer(n, &accounts)).await?);
    }
    println!("while they are under way: {} cents", engine.run(audit, accounts.clone()).await?);
    let mut refused = 0;
    for transfer in transfers {
        refused += usize::from(transfer.wait().await.is_err());
    }
    println!(
        "after {} transfers and {refused} refused: {} cents",
        1000 - refused,
        engine.run(audit, accounts).await?
    );
    engine.shutdown().await;
    Ok(())
}
